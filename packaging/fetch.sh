#!/bin/bash
# Brings what Debian ships and we do not build into build/cache, and keeps it there between runs.
# usage: fetch.sh kernel [PACKAGE]   Debian's stock kernel and modules -> build/cache/kernel/PACKAGE/{vmlinuz,lib/modules}
#        fetch.sh headers [PACKAGE]  the headers of that same kernel -> build/cache/headers/PACKAGE/build, for kbuild
#        fetch.sh linux-source      the source of Debian's kernel -> build/cache/linux-source/linux-source-6.1
#        fetch.sh openvswitch        Open vSwitch's programs and the libraries they load -> build/cache/openvswitch
#        fetch.sh xen                Xen's hypervisor, the one we measure against -> build/cache/xen/xen.elf
# PACKAGE is linux-image-amd64 unless named; a metapackage is followed to the image it depends on.
# Nothing is installed: the package is downloaded and unpacked beside the build.
set -euo pipefail
cache=$(realpath -m "$(dirname "$0")/../build/cache")
what=${1:-kernel}

fail() { echo "fetch: $*" >&2; exit 1; }

# download PACKAGE FOLDER: unpack the newest version of PACKAGE into FOLDER, whole or not at all.
download() {
    local work=$2.part
    rm -rf "$work" && mkdir -p "$work"
    echo "fetch: downloading $1"
    if ! (cd "$work" && apt-get download -qq "$1" 2>"$work/log"); then
        # The usual reason is an old package index.
        [ "$(id -u)" = 0 ] && apt-get update -qq || sudo -n apt-get update -qq || true
        (cd "$work" && apt-get download -qq "$1") || { cat "$work/log" >&2; fail "cannot download $1: is the network there?"; }
    fi
    dpkg -x "$work"/*.deb "$work" && rm -f "$work"/*.deb "$work/log"
    mv "$work" "$2"
}

case $what in
kernel)
    package=${2:-linux-image-amd64}
    out=$cache/kernel/$package
    [ -e "$out/vmlinuz" ] && exit 0
    image=$(apt-cache depends "$package" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
    image=${image:-$package}
    mkdir -p "$cache/kernel" && rm -rf "$out"
    download "$image" "$out"
    version=$(basename "$out"/boot/vmlinuz-*) && version=${version#vmlinuz-}
    [ -e "$out/lib/modules/$version" ] || fail "$image holds no kernel and modules"
    depmod -b "$out" "$version"
    ln -s "boot/vmlinuz-$version" "$out/vmlinuz"
    ;;
headers)
    package=${2:-linux-image-amd64}
    out=$cache/headers/$package
    # The kernel in the cache says which ones: what apt would install may be newer than what runs.
    version=$(basename "$cache/kernel/$package"/lib/modules/*)
    [ "$(readlink "$out/build" 2>/dev/null)" = "usr/src/linux-headers-$version" ] && exit 0
    mkdir -p "$cache/headers" && rm -rf "$out" "$out".[a-z]*
    download "linux-headers-$version" "$out"
    folder=$out/usr/src/linux-headers-$version
    # They name their other half and kbuild's programs by where Debian installs them.
    common=$(sed -n 's|^include /usr/src/\(.*\)/Makefile$|\1|p' "$folder/Makefile")
    kbuild=$(readlink "$folder/scripts" | sed 's|.*/\(linux-kbuild-[^/]*\)/.*|\1|')
    for other in "$common" "$kbuild"; do
        download "$other" "$out.other"
        cp -r "$out.other/usr" "$out/" && rm -rf "$out.other"
    done
    echo "include $out/usr/src/$common/Makefile" >"$folder/Makefile"
    ln -s "usr/src/linux-headers-$version" "$out/build"
    ;;
linux-source)
    out=$cache/linux-source
    [ -e "$out/linux-source-6.1" ] && exit 0
    rm -rf "$out" "$out.deb"
    download linux-source-6.1 "$out.deb"
    # Whole or not at all, as above.
    rm -rf "$out.part" && mkdir -p "$out.part"
    tar -C "$out.part" -xf "$out.deb/usr/src/linux-source-6.1.tar.xz"
    mv "$out.part" "$out" && rm -rf "$out.deb"
    ;;
xen)
    out=$cache/xen
    [ -e "$out/xen.elf" ] && exit 0
    rm -rf "$out"
    download xen-hypervisor-4.17-amd64 "$out"
    gunzip -c "$out/boot/xen-4.17-amd64.gz" >"$out/xen.elf"
    ;;
openvswitch)
    # Not installed: its package would start a switch on this machine.
    out=$cache/openvswitch
    [ -e "$out/usr" ] && exit 0
    rm -rf "$out" "$out".[a-z]*
    download openvswitch-switch "$out.new"
    for other in openvswitch-common libxdp1 libbpf1 libunbound8 libevent-2.1-7 libcap-ng0 libnuma1; do
        download "$other" "$out.other"
        cp -a "$out.other/." "$out.new/" && rm -rf "$out.other"
    done
    mv "$out.new" "$out"
    ;;
*) fail "unknown: $what (kernel, headers, linux-source, openvswitch or xen)" ;;
esac
