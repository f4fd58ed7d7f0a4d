#!/usr/bin/env python3
"""`make bench-explain OP=net`: where the instructions of one transfer go, counted by address and by domain.

usage: explain_net.py [--lines N] [--driver domus-netd|netback|domus-netfront] [--what down|up|small-down|small-up] [COLUMN]
  down, up: 64 MiB by TCP to the guest, to dom0; small-...: UDP packets of 64 bytes. COLUMN as in run.py (not native).
Shows instructions per packet (as the guest's card counts them) of the guest's kernel and programs, the hypervisor, dom0's
kernel and programs, and the backend, the functions that cost most with how often each is called, every system call of
dom0's, and what domus-netd's figures say of the last transfer. The counts come from a TCG plugin (plugin/count.c), between
marks around the sending or fetching command. Both kernels stand at the same addresses: the place in memory tells them apart.
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(TOP, "packaging"), os.path.join(TOP, "tests", "system"),
                os.path.join(TOP, "packaging", "dom0")]
import explain_block  # noqa: E402
import micro  # noqa: E402
import part_net  # noqa: E402
import qemu  # noqa: E402
from column import Column  # noqa: E402
from explain import HYPERVISOR, HYPERVISOR_END, USER_END, Symbols, build_plugin, hypervisor_symbols  # noqa: E402
from harness.dom0 import Dom0  # noqa: E402
from harness.machine import Failure  # noqa: E402

KERNEL, MODULES = 0xffffffff80000000, 0xffffffffc0000000
PROGRAM = 0x555555554000  # where programs lie without randomization; busybox, linked statically, lies far below
FIGURES = "cat /sys/class/net/eth0/statistics/rx_packets /sys/class/net/eth0/statistics/tx_packets"
TELL = 'echo 0 >/proc/sys/kernel/kptr_restrict; grep -F "[" /proc/kallsyms'  # the modules' functions


def command(what):
    """The domain that runs the marked command, and the command."""
    send = f"send {{}} 8003 {part_net.PACKETS} 64"
    return {"down": ("guest", part_net.fetch(part_net.DOM0)), "up": ("dom0", part_net.fetch(part_net.ADDRESS)),
            "small-down": ("dom0", "/usr/lib/domus/load " + send.format(part_net.ADDRESS)),
            "small-up": ("guest", "/bench/load " + send.format(part_net.DOM0))}[what]


def run(dom0, what):
    """Packets that the counted transfer takes, both ways; and each kernel's modules. The first transfer warms up: the
    plugin takes the shortest."""
    modules = {"dom0": dom0.ok(TELL), "guest": dom0.in_guest("bench", TELL, 300)}
    where, words = command(what)
    for _ in range(2):
        receive(dom0, what)
        figures = netd_figures(dom0)
        before = [int(n) for n in dom0.in_guest("bench", FIGURES).split()]
        if where == "guest":
            dom0.in_guest("bench", f"/bench/load mark {words}", part_net.LIMIT)
        else:
            dom0.ok(f"/usr/lib/domus/load mark {words}", part_net.LIMIT)
        after = [int(n) for n in dom0.in_guest("bench", FIGURES).split()]
    gained = {name: value - figures.get(name, 0) for name, value in netd_figures(dom0).items()}
    return sum(after) - sum(before), modules, gained


def receive(dom0, what):
    """Starts who takes the packets; it ends when none came for two seconds. Not the shell's own child (part_net.small_up)."""
    if what == "small-down":
        dom0.in_guest("bench", "sleep 3; (/bench/load receive 8003 >/dev/null 2>&1 &); sleep 1", 300)
    elif what == "small-up":
        dom0.ok("sleep 3; ((/usr/lib/domus/load receive 8003 >/dev/null 2>&1) &); sleep 1", 300)


def netd_figures(dom0):
    """What the card's server counts, of both ways; Linux's netback counts no batches."""
    if dom0.tool_name != "domus":
        return {}
    view = json.loads(dom0.tool("ring bench vif0 --json"))
    return {figure["name"]: int(figure["value"]) for figure in view.get("figures", []) if figure.get("counts")}


class Places:
    """Whose an instruction is. Kernel text lies in one piece in each domain: two differences between address and place,
    and dom0's is the one at which the backend's ioctl (or netback's thread) runs."""

    def __init__(self, rows, kernel, modules, column):
        self.kernel, self.hypervisor = kernel, hypervisor_symbols(column)
        lines = {name: [" ".join(line.split()[:3]) + "".join(line.split()[3:]) for line in text.splitlines()]
                 for name, text in modules.items()}
        self.modules = {name: Symbols(text) for name, text in lines.items()}
        self.starts = {address for symbols in (kernel, self.hypervisor, *self.modules.values()) for address in symbols.starts()}
        self.bases, dom0s = {}, {"do_vfs_ioctl", "gnttab_batch_copy"}
        for address, _, place in rows:
            if KERNEL <= address < MODULES:
                base = place - (address & ~4095)
                if kernel.name(address) in dom0s or base not in self.bases:
                    self.bases[base] = "dom0" if kernel.name(address) in dom0s else "guest"

    def near(self, place):
        """The domain whose kernel lies nearest: its memory is in one region."""
        return self.bases[min(self.bases, key=lambda base: abs(base + KERNEL - place))]

    def owner(self, address, place):
        if HYPERVISOR <= address < HYPERVISOR_END:
            return "hypervisor", self.hypervisor.name(address)
        if address >= MODULES:
            domain = self.near(place)
            return f"{domain} kernel", self.modules[domain].name(address)
        if address >= KERNEL:
            return f"{self.bases.get(place - (address & ~4095), self.near(place))} kernel", self.kernel.name(address)
        if address >= USER_END:
            return "other", "-"
        if address >= PROGRAM:
            return "daemons", "domus-netd and others"
        return f"{self.near(place)} programs", "busybox, load"


def show(what, packets, rows, places, lines):
    owners, functions, calls, total = {}, {}, {}, 0
    for address, count, place in rows:
        who, name = places.owner(address, place)
        owners[who] = owners.get(who, 0) + count
        functions[who, name] = functions.get((who, name), 0) + count
        if address in places.starts:
            calls[who, name] = calls.get((who, name), 0) + count
        total += count
    print(f"{what}: {total:,} instructions, {packets} packets both ways, {total / packets:,.0f} each")
    for who, count in sorted(owners.items(), key=lambda item: -item[1]):
        print(f"  {count / packets:12,.1f}  {100 * count / total:5.1f} %  {who}")
    print("functions, and calls for each packet:")
    for key, count in sorted(functions.items(), key=lambda item: -item[1])[:lines]:
        print(f"  {count / packets:12,.1f}  {100 * count / total:5.1f} %  {calls.get(key, 0) / packets:7.2f}  {': '.join(key)[:100]}")
    print("dom0's system calls for each packet:")
    for (who, name), count in sorted(calls.items(), key=lambda item: -item[1]):
        if who == "dom0 kernel" and name.startswith("__x64_sys_") and count >= packets / 1000:
            print(f"  {count / packets:12.3f}  {name[len('__x64_sys_'):]}")


def read_rows(path):
    return [(address, count, memory & ~4095) for address, memory, _, count, _ in explain_block.read(path)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lines", type=int, default=30, help="how many functions to show")
    p.add_argument("--driver", choices=part_net.DRIVERS, default="domus-netd", help="as in part_net's rows")
    p.add_argument("--what", choices=["down", "up", "small-down", "small-up"], default="down")
    p.add_argument("column", nargs="?", default="domus")
    a = p.parse_args()
    column, work = Column.parse(a.column), os.path.join(qemu.BUILD, "tests", "bench", "explain")
    plugin, counts = build_plugin(work)
    settings = column.settings(icount=True, plugin=f"{plugin},out={counts}")
    kernel = Symbols(micro.kernel_symbols(qemu.kernel_image(settings.kernel)))
    dom0 = Dom0(settings, f"{work}/net-{column.machine}", "bench", files=part_net.dom0_files(), options="norandmaps",
                hypervisor_options=column.hypervisor_options)
    try:
        backend, options = part_net.DRIVERS[a.driver]
        part_net.start(dom0, backend, f"norandmaps {options}")
        packets, modules, figures = run(dom0, a.what)
    finally:
        dom0.stop()
    rows = read_rows(counts)
    show(f"{a.what}, {a.driver}, {column.title}", packets, rows, Places(rows, kernel, modules, column), a.lines)
    print("domus-netd: " + (", ".join(f"{name} {gained:,}" for name, gained in figures.items() if gained) or "no figures"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, qemu.Missing) as problem:
        sys.exit(f"explain_net: {problem}")
