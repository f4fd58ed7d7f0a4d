#!/bin/bash
# Builds the guest kernel: Debian's linux-source-6.1, our series on top (quilt's order: patches/series), configured and
# compiled with ccache. Out of the source; the pristine source stays in build/cache and is never written to.
#
# usage: build.sh [--plain] [--config small|debian] [--print] [TARGET...]
#   --plain    without the series: what a patch is measured against
#   --config   small (default): config/small.config on tinyconfig; debian: the stock kernel's own configuration
#   --apply    only the source with the series applied
#   TARGET     make's targets instead of the whole kernel (arch/x86/xen/ mm/memory.o ...)
# Results: build/guest-kernel/{patched,plain}-{small,debian}/vmlinuz and System.map
set -euo pipefail
here=$(dirname "$(realpath "$0")")
top=$(dirname "$here")
build=$top/build/guest-kernel
pristine=$top/build/cache/linux-source/linux-source-6.1
series=patched config=small apply=

while [ $# -gt 0 ]; do
    case $1 in
    --plain) series=plain ;;
    --config) config=$2 && shift ;;
    --apply) apply=1 ;;
    -*) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \?//' && exit 2 ;;
    *) break ;;
    esac
    shift
done
[ -e "$here/config/$config.config" ] || { echo "guest-kernel: no configuration $config" >&2 && exit 2; }

# One at a time in one tree: the test and `make guest-kernel` share the folders.
mkdir -p "$build"
exec 9>"$build/.lock" && flock 9

patches() { [ $series = plain ] || sed 's/#.*//; /^ *$/d' "$here/patches/series"; }

# The source is made anew only when the series changed. Files are hard links to the pristine ones; patch replaces a
# file and never writes into it.
source=$build/source-$series
stamp=$( (cd "$here/patches" && for p in $(patches); do echo "$p" && cat "$p"; done) | sha256sum)
if [ "$(cat "$source/.series" 2>/dev/null)" != "$stamp" ]; then
    "$top/packaging/fetch.sh" linux-source
    rm -rf "$source.new" && cp -al "$pristine" "$source.new"
    for p in $(patches); do
        patch -d "$source.new" -p1 -F0 -s --no-backup-if-mismatch <"$here/patches/$p" ||
            { echo "guest-kernel: $p does not apply" >&2 && exit 1; }
    done
    echo "$stamp" >"$source.new/.series"
    # What did not change keeps its time, so that a change to one patch compiles what that patch is about.
    if [ -e "$source" ]; then
        (cd "$source.new" && patches | while read -r p; do sed -n 's,^+++ b/,,p' "$here/patches/$p"; done | sort -u) |
            while read -r f; do cmp -s "$source/$f" "$source.new/$f" && touch -r "$source/$f" "$source.new/$f"; done || true
    fi
    rm -rf "$source" && mv "$source.new" "$source"
fi
[ -z "$apply" ] || exit 0

out=$build/$series-$config
mkdir -p "$out"
# Names of people, machines and times would make every build a new one.
export KBUILD_BUILD_USER=domus KBUILD_BUILD_HOST=domus KBUILD_BUILD_TIMESTAMP="1 January 2024" KBUILD_BUILD_VERSION=1
export CCACHE_BASEDIR=$top CCACHE_SLOPPINESS=time_macros CCACHE_NOHASHDIR=1
kmake() { make -s -C "$source" O="$out" CC="ccache gcc" HOSTCC="ccache gcc" -j"${J:-$(nproc)}" "$@"; }

wanted=$(cat "$here/config/$config.config" | sha256sum)
if [ "$(cat "$out/.wanted" 2>/dev/null)" != "$wanted" ]; then
    if [ $config = small ]; then
        kmake tinyconfig >"$out/tiny.log"
    else
        "$top/packaging/fetch.sh" kernel
        cp "$top"/build/cache/kernel/linux-image-amd64/boot/config-* "$out/.config"
    fi
    "$source/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" "$here/config/$config.config" >"$out/merge.log"
    kmake olddefconfig
    # An option that vanished (renamed, a dependency missing) would be found out late.
    missing=$(grep -E '^CONFIG_' "$here/config/$config.config" | grep -vxFf "$out/.config" || true)
    [ -z "$missing" ] || { echo "guest-kernel: the configuration lost:" $missing >&2 && exit 1; }
    echo "$wanted" >"$out/.wanted"
fi
if [ $# -gt 0 ]; then
    kmake prepare "$@"
    exit
fi
kmake bzImage
ln -sf arch/x86/boot/bzImage "$out/vmlinuz"
echo "guest-kernel: ${out#"$top"/}/vmlinuz, $(stat -L -c %s "$out/vmlinuz") bytes"
