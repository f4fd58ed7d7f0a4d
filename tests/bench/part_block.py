"""Rows of a guest's disk: 64 MiB one after the other through the page cache (writing with fsync), 4 KiB at random places
past it, one at a time and 32 at a time; counted time (as in part_boot) and by the wall clock. Linux's blkfront on Linux's
blkback and on domus-blockd; the medium is an image file in dom0's memory. The load is block_program/load.c. Called by run.py.
"""
import os
import re
import subprocess

import micro
import qemu
from harness.dom0 import Dom0
from harness.machine import Failure

TITLE = "disk"
KINDS = {"sequential write": "64 MiB written with fsync", "sequential read": "64 MiB read",
         "single write": "4 KiB written, 1 at a time", "single read": "4 KiB read, 1 at a time",
         "crowd write": "4 KiB written, 32 at a time", "crowd read": "4 KiB read, 32 at a time"}
BACKENDS = {"blkback": ",backendtype=phy", "domus-blockd": ",backendtype=domus,no-persistent",
            "domus-blockd persistent": ",backendtype=domus,persistent"}  # and what stands in the guest's disk for it
CLOCKS = {"counted": True, "wall clock": False}  # and whether QEMU counts
ROWS = [f"{kind}, {backend}, {clock}" for clock in CLOCKS for kind in KINDS.values() for backend in BACKENDS]
MIB, OPERATIONS, ROUNDS = 64, 2000, 3
LIMIT = 600  # seconds of wall time for one command
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "block_program", "load.c")
BUILT = os.path.join(qemu.BUILD, "bench")


def measure(column, work, wanted):
    """A boot for each clock, a guest for each backend in it. A column without a backend leaves its rows out."""
    if column.native:
        return {}
    image, figures = ramdisk(), {}
    for clock, icount in CLOCKS.items():
        chosen = [b for b in BACKENDS if any(row.endswith(f", {b}, {clock}") for row in wanted)]
        if chosen:
            boot(column, f"{work}-{column.machine}", image, clock, icount, chosen, figures)
    return figures


def ramdisk():
    """domU's RAM disk with the program."""
    from cpio import Tree
    os.makedirs(BUILT, exist_ok=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", f"{BUILT}/load", SOURCE], check=True)
    tree = Tree()
    tree.copy(f"{BUILT}/load", "/bench/load", 0o755)
    return micro.behind_domu(tree, "block.img")


def boot(column, work, image, clock, icount, backends, figures):
    settings = column.settings(icount=icount)
    dom0 = Dom0(settings, work, "bench", files={"/boot/bench.img": image}, hypervisor_options=column.hypervisor_options)
    try:
        # Written once, so that no page of the image is new while it is measured.
        disk = dom0.disk("/tmp/disk.img", MIB)
        dom0.ok(f"dd if=/dev/zero of=/tmp/disk.img bs=1M count={MIB} conv=notrunc 2>/dev/null", LIMIT)
        for backend in backends:
            if backend.startswith("domus-blockd") and settings.tools != "domus":
                continue
            for kind, seconds in rounds(dom0, f"{disk},raw,xvda,rw{BACKENDS[backend]}").items():
                figures[f"{KINDS[kind]}, {backend}, {clock}"] = seconds
    finally:
        dom0.stop()


def rounds(dom0, disk):
    """{kind: seconds}, the best round. Nobody looks while it measures: dom0 shares the CPU."""
    dom0.guest("bench", memory=256, ramdisk="/boot/bench.img", disk=[disk.replace("phy:", "")])
    dom0.ok("sleep 8")  # the guest has the CPU to itself until it is up
    dom0.wait_guest("bench", LIMIT)
    dom0.in_guest("bench", f"(for i in {' '.join(map(str, range(ROUNDS)))}; do /bench/load /dev/xvda {MIB} {OPERATIONS}; "
                           "done >/tmp/out 2>&1; mv /tmp/out /tmp/done) >/dev/null 2>&1 &", LIMIT)
    for _ in range(60):
        dom0.ok("sleep 4", LIMIT)
        if dom0.run("/usr/lib/domus/guest-run bench 60 '[ -e /tmp/done ]'", LIMIT).status == 0:
            break
    said = dom0.in_guest("bench", "cat /tmp/done", LIMIT)
    dom0.tool("destroy bench")
    dom0.wait_gone("bench")
    found = {kind: [int(n) / 1e9 for n in re.findall(rf"load {kind}: (\d+)", said)] for kind in KINDS}
    if any(len(times) != ROUNDS for times in found.values()):
        raise Failure(f"the load ended early:\n{said[-2000:]}")
    return {kind: min(times) for kind, times in found.items()}


def text(row, figure):
    if row.startswith("64 MiB"):
        return f"{figure:.3f} s"
    return f"{figure / OPERATIONS * 1e6:.1f} us"
