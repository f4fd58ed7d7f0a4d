#!/bin/sh
# Installs the packages of packages.txt that are missing. Called by every front-door target of the Makefile;
# says nothing and changes nothing when all are there.
set -eu
list=$(dirname "$0")/packages.txt
wanted=$(sed 's/#.*//' "$list" | tr -s ' \n' '\n')
have=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  *//p')
missing=$(for p in $wanted; do echo "$have" | grep -qxF "$p" || echo "$p"; done)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "packages: this machine has no apt-get. Domus builds on Debian 12; please install what matches:" $missing >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "packages: not root and no sudo. As root, run: apt-get install --no-install-recommends" $missing >&2
        exit 1
    fi
    sudo=sudo
fi
echo "packages: installing" $missing
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing </dev/null >"$log" 2>&1
}
# A fresh machine has no package index, or an old one: fetch it, then install.
if ! { $sudo apt-get update >"$log" 2>&1 && install; } && ! install; then
    tail -n 15 "$log" >&2
    echo "packages: apt-get could not install them (see above)." >&2
    exit 1
fi
