"""Where the instructions of a disk's load go (`make bench-explain OP="64 MiB read"`): for each request of the ring, split by
the guest, the hypervisor, dom0's kernel and domus-blockd. Called by explain.py, whose plugin counts.

Both kernels have the same addresses and lie in different memory: where an address was counted in two places, dom0's is the
one that was seen first, and whatever else was counted belongs to whose memory is nearest.
"""
import base64
import bisect
import gzip
import os
import re

import micro
import part_block
from harness.dom0 import Dom0
from harness.machine import Failure

NAMES = {name: kind for kind, name in part_block.KINDS.items()}
GUEST_USER, GUEST, HYPERVISOR, DOM0, BACKEND, DOM0_USER = "guest, program", "guest, kernel", "hypervisor", "dom0, kernel", \
    "domus-blockd", "dom0, other programs"
PROGRAM_END = 1 << 24  # the load is linked to a fixed address, dom0's programs are not
MODULES = "sh -c \"echo 0 >/proc/sys/kernel/kptr_restrict; awk \\\"NF == 4\\\" /proc/kallsyms | cut -f1 | gzip | base64\""


def run(column, name, backend, work, settings, counts):
    """Loads the disk once for each round; returns (requests of a round, symbols of modules by side, blockd's code)."""
    image = part_block.ramdisk()
    dom0 = Dom0(settings, work, "bench", files={"/boot/bench.img": image}, hypervisor_options=column.hypervisor_options)
    try:
        disk = dom0.disk("/tmp/disk.img", part_block.MIB)
        dom0.ok(f"dd if=/dev/zero of=/tmp/disk.img bs=1M count={part_block.MIB} conv=notrunc 2>/dev/null", 600)
        dom0.guest("bench", memory=256, ramdisk="/boot/bench.img",
                   disk=[f"{disk},raw,xvda,rw{part_block.BACKENDS[backend]}"])
        dom0.ok("sleep 8")
        dom0.wait_guest("bench", 600)
        modules = {DOM0: symbols(dom0.ok(MODULES, 600)), GUEST: symbols(dom0.in_guest("bench", MODULES, 600))}
        before = requests(dom0)
        command = f"/bench/load /dev/xvda {part_block.MIB} {part_block.OPERATIONS} \"{NAMES[name]}\""
        dom0.in_guest("bench", f"({command} >/tmp/out 2>&1; mv /tmp/out /tmp/done) >/dev/null 2>&1 &", 600)
        for _ in range(120):
            dom0.ok("sleep 4", 600)
            if dom0.run("/usr/lib/domus/guest-run bench 60 '[ -e /tmp/done ]'", 600).status == 0:
                break
        said = dom0.in_guest("bench", "cat /tmp/done", 600)
        rounds = said.count("load ")
        if rounds == 0 or not os.path.exists(counts):
            raise Failure(f"{name} was not counted:\n{said[-2000:]}")
        daemon = dom0.run("cat /proc/$(pidof domus-blockd)/maps").output
        code = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ..x", daemon, re.MULTILINE)]
        return (requests(dom0) - before) / rounds, modules, code
    finally:
        dom0.stop()


def requests(dom0):
    """Requests that the guest's kernel has sent."""
    fields = dom0.in_guest("bench", "cat /sys/block/xvda/stat", 600).split()
    return int(fields[0]) + int(fields[4])


def symbols(packed):
    text = "".join(line for line in packed.splitlines() if re.fullmatch(r"[A-Za-z0-9+/=]+", line))
    return gzip.decompress(base64.b64decode(text)).decode().splitlines()


class Owners:
    """Whose memory a place of kernel code is: dom0's or the guest's."""

    def __init__(self, places):
        """places: [(address, memory, first)]."""
        by_address = {}
        for address, memory, first in places:
            by_address.setdefault(address, []).append((first, memory >> 12))
        twice = [sorted(seen) for seen in by_address.values() if len(seen) > 1]
        guest_began = min(seen[1][0] for seen in twice)
        votes = {}
        for seen in by_address.values():
            seen.sort()
            for rank, (first, page) in enumerate(seen):
                if len(seen) > 1 or first < guest_began:
                    votes[page] = votes.get(page, 0) + (1 if rank == 0 else -1)
        self._pages = sorted(votes)
        self._dom0 = [votes[page] > 0 for page in self._pages]

    def dom0(self, memory):
        page = memory >> 12
        i = bisect.bisect_left(self._pages, page)
        near = [k for k in (i - 1, i) if 0 <= k < len(self._pages)]
        return self._dom0[min(near, key=lambda k: abs(self._pages[k] - page))]


def read(counts):
    with open(counts) as lines:
        rows = [line.split() for line in lines]
    return [(int(address, 16), int(memory, 16), int(first), int(count), kind)
            for address, memory, first, count, kind in rows]


def split(counts, explain, kernel_lines, modules, code):
    """{(owner, function): count}, {kind: count}."""
    rows = read(counts)
    kernel = [row[:3] for row in rows if row[0] >= explain.HYPERVISOR_END]
    owners = Owners(kernel)
    named = {side: explain.Symbols(kernel_lines + lines) for side, lines in modules.items()}
    hypervisor = explain.hypervisor_symbols_of_product()
    functions, kinds = {}, {}
    for address, memory, _, count, kind in rows:
        if explain.HYPERVISOR <= address < explain.HYPERVISOR_END:
            key = HYPERVISOR, hypervisor.name(address)
        elif address >= explain.USER_END:
            side = DOM0 if owners.dom0(memory) else GUEST
            key = side, named[side].name(address)
        elif address < PROGRAM_END:
            key = GUEST_USER, "user code"
        else:
            own = any(begin <= address < end for begin, end in code)
            key = (BACKEND if own else DOM0_USER), "user code"
        functions[key] = functions.get(key, 0) + count
        if kind != "-":
            kinds[kind] = kinds.get(kind, 0) + count
    return functions, kinds


def explain_row(column, name, backend, work, settings, counts, explain, lines):
    per_round, modules, code = run(column, name, backend, work, settings, counts)
    functions, kinds = split(counts, explain, micro.kernel_symbols(explain.guest_kernel(column)), modules, code)
    print(f"{per_round:,.0f} requests")
    explain.show(f"{name}, {backend}, for each request", per_round, functions, kinds, lines)
