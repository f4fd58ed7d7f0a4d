#!/usr/bin/env python3
"""`make run`: starts the machine and shows its console. On a terminal the user ends in a dom0 shell; without one
(or with DEMO=1) the machine runs the demo and powers off, and the exit status is 0 only if the demo passed.
DEMO=0: the shell at once.

Settings: see qemu.py. TIMEOUT (seconds, default 600) bounds a run without terminal. FILES: files and folders of this
machine, with spaces between them, that dom0 then has in /root.
"""
import os
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "dom0"))
import qemu  # noqa: E402
from cpio import append, below  # noqa: E402


def main():
    try:
        settings = qemu.Settings.from_environment()
        wanted = os.environ.get("DEMO", "")
        if wanted == "0" and not sys.stdin.isatty():
            raise qemu.Missing("DEMO=0 is for a terminal: without one the demo is all there is to do")
        unattended = wanted == "1" or not sys.stdin.isatty()
        demo = "" if wanted == "0" else f"domus.demo={'poweroff' if unattended else 'stay'}"
        limit = qemu.number("TIMEOUT", os.environ.get("TIMEOUT") or "600")
        command = qemu.boot_hypervisor(settings, demo, "loglvl=error",
                                       image_with(settings.dom0_image(), os.environ.get("FILES", "").split()))
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


def image_with(image, paths):
    """dom0's RAM disk with these files and folders in its /root."""
    if not paths:
        return image
    out = os.path.join(os.path.dirname(image), "dom0-with-files.img")
    try:
        append(image, out, below("/root", paths))
    except OSError as problem:
        raise qemu.Missing(f"FILES={' '.join(paths)}: {problem.filename}: {problem.strerror}")
    return out


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
