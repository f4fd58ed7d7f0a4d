#!/usr/bin/env python3
"""`make bench`: the figures of docs/benchmarks.md, for the bare machine, Debian's Xen and Domus.

usage: run.py [--part NAME] [--row WORD] [--list] [COLUMN ...]      `make bench PART=... ROW=... COLUMNS="..."`
  COLUMN   native, xen or domus (default: all three). `domus=PATH`: guests run that kernel image, `native=PATH`: the
           machine does; a comma adds options of the hypervisor: `domus,sysret=no`, `domus=PATH,sysret=no`
  --part   only this part: a file part_NAME.py beside this one (may be given several times; default: all)
  --row    only rows whose name contains WORD, where a part can measure rows singly

A part is a module with ROWS (names of rows, in order), `measure(column, work, wanted)` -> {row: figure}, for the names in
`wanted` at least, and `text(row, figure)`. A figure that cannot be taken shows as `-`, and the exit status is 1.
"""
import argparse
import glob
import importlib
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(TOP, "packaging"), os.path.join(TOP, "tests", "system"),
                os.path.join(TOP, "packaging", "dom0")]
import qemu  # noqa: E402
from column import Column  # noqa: E402
from harness.machine import Failure  # noqa: E402


def all_parts():
    return sorted(os.path.basename(path)[len("part_"):-3] for path in glob.glob(f"{HERE}/part_*.py"))


def rows_of(parts):
    return "\n".join("\n    ".join([f"{name}:", *importlib.import_module(f"part_{name}").ROWS]) for name in parts)


def ratio(figures, row, name, names):
    """`(1.23)`: this figure by the first column's."""
    base = figures[names[0]].get(row)
    own = figures[name].get(row)
    return f" ({own / base:.2f})" if name != names[0] and base and own is not None else ""


def table(part, title, columns, figures, rows):
    names = [column.title for column in columns]
    print(f"\n| {title} | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for row in rows:
        cells = [part.text(row, figures[n][row]) + ratio(figures, row, n, names) if row in figures[n] else "-"
                 for n in names]
        print(f"| {row} | " + " | ".join(cells) + " |")


def run_part(name, columns, word, work):
    """True: every column could be measured."""
    part, good = importlib.import_module(f"part_{name}"), True
    wanted = [row for row in part.ROWS if word in row]
    if not wanted:
        return True
    figures = {}
    for column in columns:
        try:
            figures[column.title] = part.measure(column, os.path.join(work, name), wanted)
        except (Failure, qemu.Missing) as problem:
            print(f"bench: {name}, {column.title}: {problem}", file=sys.stderr)
            figures[column.title], good = {}, False
        good = good and not column.doubts
        for doubt in column.doubts:
            print(f"bench: {name}, {column.title}: {doubt}", file=sys.stderr)
        column.doubts.clear()
    table(part, part.TITLE, columns, figures, [row for row in wanted if any(row in f for f in figures.values())])
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--part", action="append", choices=all_parts())
    p.add_argument("--row", default="")
    p.add_argument("--list", action="store_true", help="names of parts and rows, nothing is run")
    p.add_argument("columns", nargs="*")
    a = p.parse_args()
    parts = a.part or all_parts()
    if a.list:
        print(rows_of(parts))
        return 0
    if not any(a.row in row for name in parts for row in importlib.import_module(f"part_{name}").ROWS):
        p.error(f"no row's name contains \"{a.row}\"; the rows are:\n{rows_of(parts)}")
    work = os.path.join(qemu.BUILD, "tests", "bench")
    os.makedirs(work, exist_ok=True)
    try:
        columns = [Column.parse(text) for text in a.columns or ["native", "xen", "domus"]]
        Column.tell_apart(columns)
    except ValueError as problem:
        p.error(str(problem))
    return 0 if all([run_part(name, columns, a.row, work) for name in parts]) else 1


if __name__ == "__main__":
    sys.exit(main())
