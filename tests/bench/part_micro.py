"""Rows of the micro-benchmark (micro_programs/), counted: instructions per operation, in a guest or on the bare machine.

The program runs three times; a row whose runs do not agree within 1 % is shown, named and makes the benchmark fail. Called by run.py.
"""
import micro

TITLE = "instructions"
ROWS = micro.ROWS
AGREE = 1.01
# Rows that take so long that a timer tick or a moment of dom0's always falls into them, or that end in a disk's cache.
LOOSE = {"compile job": 1.03, "map, touch, unmap 512 pages": 1.03}


def measure(column, work, wanted):
    runs = micro.run(column, work, wanted, icount=True)
    figures = {}
    for row, values in runs.items():
        if max(values) > min(values) * LOOSE.get(row, AGREE):
            column.doubts.append(f"{row}: three runs do not agree: {values}")
        figures[row] = min(values)
    return figures


def text(row, figure):
    return f"{figure:,.0f}".replace(",", " ")
