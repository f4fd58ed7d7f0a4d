#!/usr/bin/env python3
"""`make run`: starts the machine and shows its console. On a terminal the user ends in a dom0 shell; without one
(or with DEMO=1) the machine runs the demo and powers off, and the exit status is 0 only if the demo passed.

Settings: see qemu.py. TIMEOUT (seconds, default 600) bounds a run without terminal.
"""
import os
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
import qemu  # noqa: E402


def main():
    try:
        settings = qemu.Settings.from_environment()
        unattended = os.environ.get("DEMO") == "1" or not sys.stdin.isatty()
        limit = qemu.number("TIMEOUT", os.environ.get("TIMEOUT") or "600")
        command = qemu.boot_hypervisor(settings, f"domus.demo={'poweroff' if unattended else 'stay'}", "loglvl=error")
    except qemu.Missing as problem:
        print(f"run: {problem}", file=sys.stderr)
        return 2
    how = command[command.index("-accel") + 1]
    guests = f", {settings.kernel} as guest" if settings.dom0_kernel not in ("", settings.kernel) else ""
    print(f"run: {settings.hypervisor} with {settings.dom0_kernel or settings.kernel} as dom0{guests}, {settings.mem} MiB, "
          f"{settings.cpus} CPU, {how}", flush=True)
    if not unattended:
        print("run: Ctrl-A X ends the machine at once; `poweroff` in dom0 ends it in good order", flush=True)
        return subprocess.call(command + ["-serial", "mon:stdio"])
    return watch(command, limit)


def watch(command, limit):
    """Passes the console on line by line and judges by the demo's last line."""
    machine = subprocess.Popen(command + ["-serial", "stdio", "-monitor", "none"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE)
    late = threading.Event()

    def out_of_time():
        late.set()
        machine.kill()

    clock = threading.Timer(limit, out_of_time)
    clock.start()
    verdict = None
    try:
        for line in machine.stdout:
            text = line.decode(errors="replace").rstrip("\r\n")
            print(text, flush=True)
            if "demo: PASSED" in text or "demo: FAILED" in text:
                verdict = "PASSED" in text
                # From here on only the power-off is left.
                clock.cancel()
                clock = threading.Timer(30, machine.kill)
                clock.start()
    finally:
        clock.cancel()
        machine.kill()
        machine.wait()
    if late.is_set():
        print(f"run: not done after {limit} s (TIMEOUT)", file=sys.stderr)
    elif verdict is None:
        print("run: the machine stopped before the demo was done", file=sys.stderr)
    return 0 if verdict else 1


sys.exit(main())
