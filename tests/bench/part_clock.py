"""The rows of the micro-benchmark by the wall clock (nanoseconds, best of three runs): what counted instructions do not
see. Under TCG each address-space switch costs a whole TLB, and a busy host disturbs: read the ratios, not the figures.
Called by run.py.
"""
import micro

TITLE = "wall-clock, us"
ROWS = micro.ROWS


def measure(column, work, wanted):
    return {row: min(values) for row, values in micro.run(column, work, wanted, icount=False).items()}


def text(row, figure):
    return f"{figure / 1000:.1f}"
