"""Rows of starting: dom0's kernel, creates and a guest's boot, in counted seconds (QEMU's -icount: one instruction is one
nanosecond, so figures repeat whatever else the host does). Called by run.py.
"""
import os

import qemu
from harness.dom0 import Dom0
from harness.kit import new_guest
from harness.machine import Machine

BOOT = "dom0 kernel start to init"
IMAGE = "hypervisor image on disk"
FIRST = "create to return, Debian's kernel, first time"
AGAIN = "create to return, Debian's kernel, again"
TINY = "create to return, a tiny guest"
LINE = "create to a new guest's first line"
GUEST = "domU kernel start to init"
TITLE = "counted time"
ROWS = [BOOT, FIRST, AGAIN, TINY, LINE, GUEST, IMAGE]
LIMIT = 400  # seconds of wall time for one boot


def start_to_init(command, work):
    """Seconds by the kernel's own uptime when init reads it."""
    machine = Machine(command, work)
    try:
        return float(machine.wait_for(r"init: kernel took ([0-9.]+) s", LIMIT).group(1))
    finally:
        machine.stop()


class Stopwatch:
    """Counted seconds of a command in dom0, by the nanoseconds of its kernel; the watch's own cost is taken off."""

    NOW = r"sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list"

    def __init__(self, dom0):
        self._dom0 = dom0
        self._own = min(self._once("true") for _ in range(3))

    def _once(self, command):
        begin, end = (int(n) for n in self._dom0.ok(
            f"begin=$({self.NOW})\n{command} >/tmp/watched 2>&1 || {{ cat /tmp/watched; exit 1; }}\n"
            f"end=$({self.NOW})\necho $begin $end", LIMIT).split())
        return (end - begin) / 1e9

    def seconds(self, command):
        return self._once(command) - self._own


def creates(column, settings, work):
    """What a person waits for after `create`, and how long the same kernel then takes as a guest."""
    files = {"/boot/tiny.elf": os.path.join(qemu.BUILD, "guests", "hello.elf")}
    files.update(new_guest(os.path.join(work, "new-guest"), "fresh"))
    keys = {}
    if column.kernel:
        files["/boot/bench-kernel"], keys["kernel"] = column.kernel, "/boot/bench-kernel"
    dom0 = Dom0(settings, work, "bench", files=files, hypervisor_options=column.hypervisor_options)
    try:
        watch = Stopwatch(dom0)
        figures = {}
        for row in (FIRST, AGAIN):
            path = dom0.config("bench", **keys)
            figures[row] = watch.seconds(f"{dom0.tool_name} create {path}")
            dom0.ok("sleep 8")  # the guest has the CPU to itself until it is up
            dom0.wait_guest("bench")
            figures[GUEST] = float(dom0.in_guest("bench", "cat /run/kernel-took"))
            dom0.tool("destroy bench")
            dom0.wait_gone("bench")
        for _ in range(2):  # the second: caches of dom0's own are warm, as they were for AGAIN
            path = dom0.config("tiny", kernel="/boot/tiny.elf", ramdisk=None, memory=16, on_poweroff="preserve")
            figures[TINY] = watch.seconds(f"{dom0.tool_name} create {path}")
            dom0.tool("destroy tiny")
            dom0.wait_gone("tiny")
        if dom0.tool_name == "domus":
            # To the line on the terminal: the pipe's last reader ends with it, the create goes on in the background.
            for _ in range(2):
                figures[LINE] = watch.seconds("{ (cd /root/fresh; exec domus create -c fresh.cfg </dev/null 2>&1) & } | "
                                              "grep -m1 'hello from fresh'")
                dom0.until("domus destroy fresh && ! domus list | grep -q '^fresh '")
        return figures
    finally:
        dom0.stop()


def measure(column, work, wanted):
    """All rows come from one boot, so that `wanted` spares nothing."""
    settings = column.settings(icount=True)
    disk = os.path.join(qemu.BUILD, "images", "domu.img")  # the small RAM disk, for all three
    work = f"{work}-{column.machine}"
    if column.native:
        return {BOOT: start_to_init(qemu.boot_native(settings, "domus.bench", disk), f"{work}.console")}
    command = qemu.boot_hypervisor(settings, "domus.bench", column.hypervisor_options, disk)
    figures = {BOOT: start_to_init(command, f"{work}.console"), IMAGE: os.path.getsize(settings.hypervisor_image())}
    return {**figures, **creates(column, settings, work)}


def text(row, figure):
    return f"{figure / 1e6:.2f} MB" if row == IMAGE else f"{figure:.3f} s"
