#!/usr/bin/env python3
"""`make test`: builds everything and runs every kind of test, in order of speed. Last line: `N passed, N failed`.

usage: everything.py [--long]
A build that breaks counts as one failed test, and what depends on it is not run; a kind of test that
reports nothing counts as failed. Needs no terminal and no KVM.
"""
import os
import re
import subprocess
import sys
import time

# The system tests that belong to `make test`: patterns of harness/runner.py.
SYSTEM = ["boot:", "dom0:", "store:", "guests:", "devices:", "tools:", "failures:", "daemons:", "frontends:", "guestkit:",
          "net:", "openvswitch:", "block:", "direct_io:", "disks:", "guest_kernel:"]

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Total:
    def __init__(self):
        self.passed, self.failed, self.broken = 0, 0, []

    def add(self, name, passed, failed):
        self.passed += passed
        self.failed += failed
        if failed:
            self.broken.append(f"{name} ({failed})")


def run(command, seconds, environment=None):
    """Passes the command's output on; returns its status and output. Ends it when the time is up."""
    lines = []
    process = subprocess.Popen(["timeout", "--kill-after=10", str(seconds), *command], cwd=TOP, text=True,
                               errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    status = process.wait()
    if status in (124, 137):
        print(f"make test: not done after {seconds} s: {' '.join(command)}", flush=True)
    return status, "".join(lines)


def step(total, name, command, seconds, count, environment=None):
    """One kind of test. count: output -> (passed, failed), or None if it says nothing."""
    print(f"\n== {name}", flush=True)
    begin = time.monotonic()
    status, output = run(command, seconds, environment)
    if count is built:
        passed, failed = (1, 0) if status == 0 else (0, 1)
    else:
        passed, failed = count(output) or (0, 0)
        if status != 0 and failed == 0 or passed + failed == 0:
            failed += 1  # broke before it could count
    total.add(name, passed, failed)
    print(f"== {name}: {passed} passed, {failed} failed, {time.monotonic() - begin:.0f} s", flush=True)
    return status == 0


def last_line(output):
    found = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.MULTILINE)
    return tuple(map(int, found[-1])) if found else None


def ctest(output):
    """A test that was skipped has not passed: it is named, and counted as neither."""
    found = re.search(r"(\d+) tests? failed out of (\d+)", output)
    skipped = re.findall(r"^\s*\d+ - (\S+) \(Skipped\)", output, re.MULTILINE)
    for name in skipped:
        print(f"skipped: {name}")
    return (int(found.group(2)) - int(found.group(1)) - len(skipped), int(found.group(1))) if found else None


def mini_guests(output):
    """One test per guest: a line with its own count of checks, or with the reason it has none."""
    rows = re.findall(r"^\S+ +\d+ ms +(.*)$", output, re.MULTILINE)
    good = sum(row.endswith(" 0 failed") for row in rows)
    return good, len(rows) - good


def built(output):
    """A build is one test: its exit status says all."""


def main():
    total = Total()
    long = ["--long"] if "--long" in sys.argv else []
    pattern = [os.environ["TEST"]] if os.environ.get("TEST") else SYSTEM
    make = ["make", "--no-print-directory"]
    begin = time.monotonic()

    step(total, "lint (fast part)", ["python3", "tests/lint/run.py", "--fast"], 60, last_line)
    step(total, "the guest kernel's patches", ["python3", "tests/guest_kernel/series.py"], 600, last_line)
    product = step(total, "build of the product", [*make, "product"], 2400, built)
    if step(total, "build of the hosted tests", [*make, "check"], 2400, built):
        step(total, "hosted tests", ["ctest", "--preset", "check", "-j", str(os.cpu_count()), "--timeout", "300"], 1200,
             ctest)
        if long:
            step(total, "a thousand reconnects of a disk and a card", ["build/check/tests/bus/bus_test", "--gtest_filter=*Many*"],
                 3600, built, {"DOMUS_LONG": "1"})
            step(total, "the guard at length", ["bash", "-c", "ninja -C build/check guard_long && "
                                                "build/check/tests/guard/guard_long 10000000 && "
                                                "GUARD_UNHOOK=0 GUARD_TABLES=0 GUARD_SUPERPAGES=0 build/check/tests/guard/guard_long 3000000"], 7200, built)
    if product and step(total, "kernel and RAM disks", [*make, "images", "openvswitch"], 600, built):
        if os.environ.get("HYPERVISOR", "domus") == "domus":
            step(total, "mini guests", ["tests/guests/run.sh"], 900, mini_guests)
            step(total, "mini guests, no short crossings",
                 ["env", "XOPT=fast-syscall=0 fast-iret=0 fast-fault=0 fast-hypercall=0", "tests/guests/run.sh", "build/domus.elf", "crossings", "wild"],
                 300, mini_guests)
        step(total, "system tests", ["python3", "tests/system/run.py", *long, *pattern], 7200 if long else 2400,
             last_line)

    print(f"\n== everything in {time.monotonic() - begin:.0f} s" +
          (f"; failed: {', '.join(total.broken)}" if total.broken else ""))
    print(f"{total.passed} passed, {total.failed} failed")
    return 0 if total.failed == 0 and total.passed else 1


sys.exit(main())
