"""What empties the TLB, per operation of the micro-benchmark (micro_programs/): CR3 writes, single pages (INVLPG) and CR4
writes. Counted instruction by instruction by a TCG plugin (plugin/count.c), so it is the same on the bare machine, on Xen
and on Domus; of nine rounds the one with the fewest instructions counts. Called by run.py.
"""
import os
import re

import explain
import micro
from harness.machine import Failure

TITLE = "per operation"
KINDS = {"cr3": "CR3 writes", "invlpg": "INVLPG", "cr4": "CR4 writes"}
ROUNDS = 9  # micro_programs/main.c: `least`


def name(row, kind):
    return f"{row}: {KINDS[kind]}"


ROWS = [name(row, kind) for row in micro.ROWS for kind in KINDS]


def windows_of(path):
    """[(instructions, {kind: count})] in the order in which they were counted."""
    with open(path) as lines:
        return [(int(words[0]), {kind: int(n) for kind, n in (word.split("=") for word in words[1:])})
                for words in map(str.split, lines)]


def measure(column, work, wanted):
    (plugin, counts), windows = explain.build_plugin(work), f"{work}/windows"
    if os.path.exists(windows):
        os.remove(windows)
    rows = [row for row in micro.ROWS if any(name(row, kind) in wanted for kind in KINDS)]
    # The benchmark takes part of a name: one run for all, or one row.
    text = micro.run_script(column, f"{work}/run", micro.script_marked("" if len(rows) > 1 else rows[0]), icount=True,
                            plugin=f"{plugin},out={counts},windows={windows}")
    ran = re.findall(r"^marked (.*): ([0-9]+)", text, re.MULTILINE)
    found = windows_of(windows) if os.path.exists(windows) else []
    if not ran or len(found) != ROUNDS * len(ran):
        raise Failure(f"{len(ran)} rows and {len(found)} rounds were counted:\n{text[-2000:]}")
    figures = {}
    for i, (row, n) in enumerate(ran):
        _, kinds = min(found[i * ROUNDS:(i + 1) * ROUNDS], key=lambda window: window[0])
        for kind in KINDS:
            if kinds[kind] or kind == "cr3":
                figures[name(row, kind)] = kinds[kind] / int(n)
    return {row: figure for row, figure in figures.items() if row in wanted}


def text(row, figure):
    return f"{figure:.2f}"
