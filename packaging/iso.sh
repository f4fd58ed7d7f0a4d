#!/bin/bash
# usage: iso.sh HYPERVISOR OUT [DOM0_OPTIONS [DOM0_IMAGE]]: a bootable disc with GRUB, which loads the hypervisor by
# multiboot 2 with the dom0 kernel and RAM disk as modules. Settings from the environment as in qemu.py.
set -euo pipefail
top=$(realpath "$(dirname "$0")/..")
hypervisor=$(realpath "$1") out=$(realpath -m "$2") options=${3:-} image=${4:-$top/build/images/dom0-domus.img}
name=${DOM0_KERNEL:-${KERNEL:-linux-image-amd64}}
kernel=$top/build/cache/kernel/$name/vmlinuz
[ -f "$name" ] && kernel=$name
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/boot/grub"
cp "$hypervisor" "$work/boot/domus.elf"
cp -L "$kernel" "$work/boot/vmlinuz"
cp "$image" "$work/boot/dom0.img"
cat >"$work/boot/grub/grub.cfg" <<GRUB
set timeout=0
serial --unit=0 --speed=115200
terminal_output serial
menuentry "Domus" {
    multiboot2 /boot/domus.elf dom0_mem=${DOM0_MEM:-768}M com1=115200,8n1 console=com1
    module2 /boot/vmlinuz console=hvc0 quiet panic=-1 $options
    module2 /boot/dom0.img
}
GRUB
# The log is not below $work: what grows while it is packed makes the packer fail.
grub-mkrescue -o "$out" "$work" >"$out.log" 2>&1 || { cat "$out.log" >&2; exit 1; }
rm -f "$out.log"
echo "iso: $out"
