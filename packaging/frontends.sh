#!/bin/bash
# Builds the modules of frontend-drivers/linux against fetched kernel headers. Called by the Makefile.
# usage: frontends.sh PACKAGE JOBS   -> build/frontends/PACKAGE/*.ko
#        frontends.sh patched JOBS   the same for the kernel of `make guest-kernel`, which must have been built
# kbuild writes beside the sources, so it works on a copy of them.
set -euo pipefail
top=$(realpath "$(dirname "$0")/..")
out=$top/build/frontends/$1
kernel=$top/build/cache/headers/$1/build symbols=
if [ "$1" = patched ]; then
    kernel=$top/build/guest-kernel/patched-small symbols=$kernel/vmlinux.symvers
    [ -e "$symbols" ] || { echo "frontends: $symbols is missing; run \`make guest-kernel\`" >&2; exit 1; }
    "$top/guest-patches/build.sh" modules_prepare >/dev/null
fi
mkdir -p "$out"
cp -ru "$top"/frontend-drivers/linux/. "$out"/
# What our Makefile exports is none of kbuild's business.
env -i PATH="$PATH" make -C "$kernel" M="$out" KBUILD_EXTRA_SYMBOLS="$symbols" W=1 -j "$2" modules >"$out/log" 2>&1 ||
    { cat "$out/log" >&2; exit 1; }
! grep -n 'warning:' "$out/log" >&2 || { echo "frontends: warnings count as errors" >&2; exit 1; }
