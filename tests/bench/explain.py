#!/usr/bin/env python3
"""`make bench-explain OP="null syscall"`: where the instructions of one operation go, counted by address.

usage: explain.py [--lines N] OP [COLUMN]      OP: part of a row's name (run.py --list --part micro), or a load on a disk
                                               (`64 MiB read`, `4 KiB read, 1 at a time, blkback`); COLUMN as in run.py
Shows, per operation: instructions of the guest's user and kernel mode and of the hypervisor (its entry code, C++), the
functions that cost most, and the instructions that touch the CPU's state (CR3 writes, INVLPG, ...). The counts come from
a TCG plugin (plugin/count.c), between marks that the benchmark sets around a round; the shortest of nine rounds counts.
"""
import argparse
import bisect
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(TOP, "packaging"), os.path.join(TOP, "tests", "system"),
                os.path.join(TOP, "packaging", "dom0")]
import explain_block  # noqa: E402
import micro  # noqa: E402
import part_block  # noqa: E402
import qemu  # noqa: E402
from column import Column  # noqa: E402
from harness.machine import Failure  # noqa: E402

USER_END, HYPERVISOR, HYPERVISOR_END = 1 << 47, 0xffff800000000000, 0xffff880000000000
OUTSIDE = "(no symbol)"


class Symbols:
    """Which function an address lies in, by `nm` or System.map."""

    def __init__(self, lines):
        found = sorted((int(address, 16), name) for address, kind, name in
                       (line.split(None, 2) for line in lines if len(line.split(None, 2)) == 3) if kind in "tTwWV")
        self._addresses = [address for address, _ in found]
        self._names = [name.strip() for _, name in found]

    def starts(self):
        return self._addresses

    def name(self, address):
        i = bisect.bisect_right(self._addresses, address) - 1
        return self._names[i] if i >= 0 and address - self._addresses[i] < 1 << 16 else OUTSIDE


def hypervisor_symbols(column):
    return hypervisor_symbols_of_product() if column.machine == "domus" else Symbols([])


def hypervisor_symbols_of_product():
    image = os.path.join(qemu.BUILD, "product", "hypervisor", "domus-syms.elf")
    return Symbols(subprocess.run(["nm", "-C", image], capture_output=True, text=True, check=True).stdout.splitlines())


def owner(address, function):
    if address < USER_END:
        return "guest user"
    if not HYPERVISOR <= address < HYPERVISOR_END:
        return "guest kernel"
    return "hypervisor, entry" if function in ENTRY or function == OUTSIDE else "hypervisor"


# Labels of entry.S; the SYSCALL stub of each CPU has no symbol.
ENTRY = set()


def read_entry_labels():
    with open(os.path.join(TOP, "hypervisor", "arch", "x86_64", "entry.S")) as source:
        ENTRY.update(line.split(":")[0] for line in source if line[:1].isalpha() and ":" in line)


def counted(path, column, kernel):
    """{(owner, function): count} and {kind: count} of one round."""
    hypervisor, kernel = hypervisor_symbols(column), Symbols(micro.kernel_symbols(kernel))
    functions, kinds = {}, {}
    with open(path) as lines:
        for line in lines:
            address, _, _, count, kind = line.split()
            address, count = int(address, 16), int(count)
            symbols = hypervisor if HYPERVISOR <= address < HYPERVISOR_END else kernel
            name = "user code" if address < USER_END else symbols.name(address)
            who = owner(address, name)
            functions[who, name] = functions.get((who, name), 0) + count
            if kind != "-":
                kinds[kind] = kinds.get(kind, 0) + count
    return functions, kinds


def show(row, n, functions, kinds, lines):
    total = sum(functions.values())
    print(f"{row}: {total / n:,.0f} instructions")
    owners = {}
    for (who, _), count in functions.items():
        owners[who] = owners.get(who, 0) + count
    for who, count in sorted(owners.items(), key=lambda item: -item[1]):
        print(f"  {count / n:12,.1f}  {100 * count / total:5.1f} %  {who}")
    print("functions:")
    for (who, name), count in sorted(functions.items(), key=lambda item: -item[1])[:lines]:
        print(f"  {count / n:12,.1f}  {100 * count / total:5.1f} %  {who}: {name[:100]}")
    print("of them: " + ", ".join(f"{kind} {count / n:,.2f}" for kind, count in sorted(kinds.items())))


def guest_kernel(column):
    return qemu.kernel_image(column.kernel or column.settings().kernel)


def build_plugin(work):
    """The plugin's file, and the one it will write."""
    os.makedirs(work, exist_ok=True)
    plugin, counts = f"{work}/count.so", f"{work}/counts"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden", "-o", plugin,
                    f"{HERE}/plugin/count.c"], check=True)
    if os.path.exists(counts):
        os.remove(counts)
    return plugin, counts


def explain_micro(row, column, lines):
    work = os.path.join(qemu.BUILD, "tests", "bench", "explain")
    plugin, counts = build_plugin(work)
    text = micro.run_script(column, f"{work}/run", micro.script_marked(row), icount=True, plugin=f"{plugin},out={counts}")
    mark = f"marked {row}: "
    if mark not in text or not os.path.exists(counts):
        raise Failure(f"{row} was not counted:\n{text[-2000:]}")
    functions, kinds = counted(counts, column, guest_kernel(column))
    show(row, int(text.split(mark)[1].split()[0]), functions, kinds, lines)


def explain_disk(op, column, lines):
    name, _, backend = op.rpartition(", ")
    if backend not in part_block.BACKENDS:
        name, backend = op, "domus-blockd"
    work = os.path.join(qemu.BUILD, "tests", "bench", "explain")
    plugin, counts = build_plugin(work)
    settings = column.settings(icount=True, plugin=f"{plugin},out={counts}")
    explain_block.explain_row(column, name, backend, work, settings, counts, sys.modules[__name__], lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lines", type=int, default=25, help="how many functions to show")
    p.add_argument("op")
    p.add_argument("column", nargs="?", default="domus")
    a = p.parse_args()
    column = Column.parse(a.column)
    read_entry_labels()
    if any(a.op in (name, f"{name}, {backend}") for name in explain_block.NAMES for backend in part_block.BACKENDS):
        explain_disk(a.op, column, a.lines)
        return 0
    rows = [row for row in micro.ROWS if a.op == row] or [row for row in micro.ROWS if a.op in row]
    if not rows:
        p.error(f"no row is named like {a.op}; rows: {', '.join([*micro.ROWS, *explain_block.NAMES])}")
    explain_micro(rows[0], column, a.lines)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, qemu.Missing) as problem:
        sys.exit(f"explain: {problem}")
