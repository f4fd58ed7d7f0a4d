"""Finds and runs the system tests: functions `test_*` in files `test_*.py`, grouped so that one boot serves many, two
machines at a time.

A test asks for what it needs by its parameter: `dom0`, a booted machine shared with other tests (it must leave no
guest behind), or `host`, settings and a folder to start its own machine. Marks:
  @only("domus")   runs only with these tools (or above this hypervisor, with `hypervisor=`)
  @alone           gets a dom0 of its own, which nobody uses afterwards
  @long            only with --long
"""
import concurrent.futures
import glob
import importlib.util
import inspect
import os
import sys
import threading
import time
import traceback

import qemu

from .dom0 import Dom0
from .machine import Failure


def only(tools=None, hypervisor=None):
    def mark(function):
        function.tools, function.hypervisor = tools, hypervisor
        return function
    return mark


def alone(function):
    function.alone = True
    return function


def long(function):
    function.long = True
    return function


class Host:
    """For tests that start their own machine."""

    def __init__(self, settings, work):
        self.settings, self.work = settings, work


class Lane:
    """One after the other on one machine at a time, next to other lanes. Owns its machine; what it counts belongs to
    the runner's lock."""

    def __init__(self, runner):
        self.runner = runner
        self._shared = None

    def run(self):
        try:
            while unit := self.runner.next_unit():
                for test in unit:
                    self._one(test)
        finally:
            self._drop()

    def _one(self, test):
        begin = time.monotonic()
        dom0 = None
        try:
            if "host" in inspect.signature(test).parameters:
                self._drop()
                test(Host(self.runner.settings, self.runner.work))
            else:
                if not shares(test):
                    self._drop()
                if self._shared is None:
                    self._shared = Dom0(self.runner.settings, self.runner.work, label(test).replace(":", "-"))
                dom0 = self._shared
                test(dom0)
                left = dom0.clean()
                if left:
                    raise Failure(f"the test left guests behind: {', '.join(left)}")
                if not shares(test):
                    self._drop()
        except (Failure, AssertionError, qemu.Missing) as problem:
            self._failed(test, problem, dom0, begin)
        except Exception as problem:  # a fault of the test itself: say where
            self._failed(test, "".join(traceback.format_exception(problem)), dom0, begin)
        else:
            self.runner.report(True, f"ok      {label(test)} ({time.monotonic() - begin:.1f} s)")

    def _failed(self, test, problem, dom0, begin):
        text = [f"FAILED  {label(test)} ({time.monotonic() - begin:.1f} s): {problem or type(problem).__name__}"]
        if isinstance(problem, AssertionError) and not str(problem):
            line = traceback.extract_tb(problem.__traceback__)[-1]
            text.append(f"        at {os.path.basename(line.filename)}:{line.lineno}: {line.line}")
        if dom0:
            text += ["        end of the console:", *("        | " + x for x in dom0.machine.tail().splitlines())]
        self.runner.report(False, "\n".join(text))
        # What a failed test leaves is not to be trusted: the next one gets a new machine.
        self._drop()

    def _drop(self):
        if self._shared:
            self._shared.stop()
            self._shared = None


class Runner:
    def __init__(self, settings, work, with_long=False, patterns=()):
        self.settings, self.work, self.with_long, self.patterns = settings, work, with_long, patterns
        self.passed, self.failed = 0, 0
        self._lock = threading.Lock()
        self._units = []

    def run(self, folder, lanes=1):
        """True if every wanted test passed. lanes: how many machines at once."""
        self._units = units([t for t in self._find(folder) if self._wanted(t)])
        with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
            for lane in [pool.submit(Lane(self).run) for _ in range(lanes)]:
                lane.result()
        return self.failed == 0

    def next_unit(self):
        with self._lock:
            return self._units.pop(0) if self._units else None

    def report(self, passed, text):
        with self._lock:
            self.passed += passed
            self.failed += not passed
            print(text, flush=True)

    def _find(self, folder):
        for path in sorted(glob.glob(os.path.join(folder, "test_*.py"))):
            spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for name, value in vars(module).items():
                if name.startswith("test_") and callable(value) and value.__module__ == module.__name__:
                    yield value

    def _wanted(self, test):
        if getattr(test, "long", False) and not self.with_long:
            return False
        if getattr(test, "tools", None) not in (None, self.settings.tools):
            return False
        if getattr(test, "hypervisor", None) not in (None, self.settings.hypervisor):
            return False
        return not self.patterns or any(pattern in label(test) for pattern in self.patterns)


def shares(test):
    """Whether it runs on a machine that others use, too."""
    return "dom0" in inspect.signature(test).parameters and not getattr(test, "alone", False)


def units(tests):
    """What one lane takes at a time: a file's tests that share a machine, or one test that starts its own. Those that
    share come first, so that each lane boots one machine for all of them; then those with machines of their own."""
    files = {}
    for test in tests:
        if shares(test):
            files.setdefault(test.__module__, []).append(test)
    return [*files.values(), *([test] for test in tests if not shares(test))]


def label(test):
    return f"{test.__module__[5:]}:{test.__name__[5:]}"


def main():
    import argparse
    p = argparse.ArgumentParser(description="Runs the system tests in QEMU. Settings: see packaging/qemu.py.")
    p.add_argument("pattern", nargs="*", help="only tests whose file:name contains one of these")
    p.add_argument("--long", action="store_true", help="also the long ones")
    p.add_argument("--lanes", type=int, help="machines at once (default: two, if there are processors for them)")
    a = p.parse_args()
    settings = qemu.Settings.from_environment()
    work = os.path.join(qemu.BUILD, "tests", "system")
    os.makedirs(work, exist_ok=True)
    runner = Runner(settings, work, a.long, a.pattern)
    lanes = a.lanes or max(1, min(2, os.cpu_count() // settings.cpus))
    good = runner.run(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), lanes)
    print(f"{runner.passed} passed, {runner.failed} failed", flush=True)
    sys.exit(0 if good and runner.passed else 1)
