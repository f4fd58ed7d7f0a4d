#!/bin/sh
# Wrap the hypervisor's ELF64 as an ELF32 with physical addresses, which multiboot loaders take.
# usage: wrap_elf32.sh domus-syms.elf domus.elf
set -e
syms=$1 out=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
objcopy -O binary "$syms" "$tmp/image.bin"
symbol() { nm "$syms" | awk -v s="$1" '$3 == s { print "0x" substr($1, 9) }'; }
bss_bytes=$(($(symbol image_end) - 0x200000 - $(stat -c %s "$tmp/image.bin")))
# The low half of a linked address is the physical one: image_base ends in eight zeros.
cat > "$tmp/wrap.lds" <<LDS
ENTRY(start)
SECTIONS
{
    start = $(symbol boot_entry);
    . = 0x200000;
    .image : { *(.data) }
    .rest (NOLOAD) : { . += $bss_bytes; }
}
LDS
(cd "$tmp" && ld -m elf_i386 -r -b binary -o image.o image.bin)
ld -m elf_i386 -T "$tmp/wrap.lds" -z max-page-size=4096 --no-warn-rwx-segments -o "$out" "$tmp/image.o"
strip "$out"
