#!/bin/busybox sh
# The compile job: a small program of several files, each compiled by a process of its own, then linked and run.
set -e
cd /tmp
objects=
for source in /bench/job/*.c; do
    object=$(busybox basename "$source" .c).o
    /usr/bin/tcc -nostdinc -c -o "$object" "$source"
    objects="$objects $object"
done
/usr/bin/tcc -nostdlib -static -o job $objects
./job
busybox rm -f job $objects
