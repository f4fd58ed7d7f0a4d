"""Builds the micro-benchmark and its RAM disk and runs it, natively or as a guest. Used by part_micro.py, part_clock.py
and explain.py; starts one QEMU at a time.
"""
import base64
import gzip
import hashlib
import os
import re
import subprocess

import qemu
from column import Column
from contents import add_program
from cpio import Tree
from harness.dom0 import Dom0
from harness.machine import Failure, Machine

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "micro_programs")
BUILT = os.path.join(qemu.BUILD, "bench")
RUNS = 3
LIMIT = 600  # seconds of wall time for a boot or a measurement

NATIVE_INIT = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mkdir -p /tmp /dev
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bench/init
/bin/busybox poweroff -f
"""


def names_in(path):
    with open(path) as source:
        return re.findall(r'^    \{"([^"]+)",', source.read(), re.MULTILINE)


ROWS = [name for part in ("kernel", "memory", "process") for name in names_in(f"{SOURCE}/rows_{part}.c")]


def compile_programs():
    os.makedirs(BUILT, exist_ok=True)
    common = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror"]
    rows = [f"{SOURCE}/{name}.c" for name in ("main", "rows_kernel", "rows_memory", "rows_process")]
    for command in (common + ["-static", "-o", f"{BUILT}/bench", *rows],
                    common + ["-static", "-o", f"{BUILT}/true-static", f"{SOURCE}/true.c"],
                    common + ["-o", f"{BUILT}/true-dynamic", f"{SOURCE}/true.c"]):
        subprocess.run(command, check=True)


def ramdisk(script):
    """domU's RAM disk with the programs; `script` is /bench/init, started by the guest or by the native init."""
    compile_programs()
    tree = Tree()
    for name in ("bench", "true-static"):
        tree.copy(f"{BUILT}/{name}", f"/bench/{name}", 0o755)
    add_program(tree, f"{BUILT}/true-dynamic", "/bench/true-dynamic")
    add_program(tree, "/usr/bin/tcc")
    tree.copy("/usr/lib/x86_64-linux-gnu/tcc/libtcc1.a", "/usr/lib/x86_64-linux-gnu/tcc/libtcc1.a", 0o644)
    tree.copy(f"{SOURCE}/job.sh", "/bench/job.sh", 0o755)
    for name in sorted(os.listdir(f"{SOURCE}/job")):
        tree.copy(f"{SOURCE}/job/{name}", f"/bench/job/{name}", 0o644)
    tree.file("/bench/init", script.encode(), 0o755)
    tree.file("/bench/native", NATIVE_INIT, 0o755)
    return behind_domu(tree, "guest.img")


def behind_domu(tree, name):
    """The path of a RAM disk: the domU's with the tree behind it."""
    path = f"{BUILT}/{name}"
    with open(path, "wb") as out:
        out.write(tree.pack_behind(f"{qemu.BUILD}/images/domu.img"))
    return path


def script_marked(row):
    return f"#!/bin/busybox sh\n/bench/bench marked '{row}' || echo bench failed\necho bench is through\n"


# The functions' addresses, as the kernel itself tells them: Debian's System.map is empty.
SCRIPT_SYMBOLS = """#!/bin/busybox sh
echo 0 >/proc/sys/kernel/kptr_restrict
echo symbols begin
busybox awk '$2 ~ /^[tTwW]$/ && NF == 3' /proc/kallsyms | busybox gzip -9 | busybox base64
echo symbols end
echo bench is through
"""


def kernel_symbols(kernel):
    """Lines as in System.map, for the kernel image that the column gives its guests. Asked of the kernel once, natively
    and without randomization: a PV kernel runs at the same addresses."""
    with open(kernel, "rb") as image:
        path = f"{BUILT}/symbols-{hashlib.sha256(image.read()).hexdigest()[:16]}"
    if not os.path.exists(path):
        column = Column("native", kernel)
        text = run_script(column, f"{BUILT}/symbols", SCRIPT_SYMBOLS)
        packed = re.search(r"symbols begin\n(.*)symbols end", text, re.DOTALL)
        if not packed:
            raise Failure(f"the kernel did not tell its symbols:\n{text[-2000:]}")
        with open(path, "wb") as out:
            out.write(gzip.decompress(base64.b64decode(packed.group(1))))
    with open(path) as lines:
        return lines.readlines()


def script_for(wanted):
    words = " ".join(f"'{row}'" for row in wanted)
    return ("#!/bin/busybox sh\n"
            f"for run in {' '.join(map(str, range(RUNS)))}; do /bench/bench {words} || echo bench failed; done\n"
            "echo bench is through\n")


def run_native(column, work, image, settings):
    machine = Machine(qemu.boot_native(settings, "rdinit=/bench/native nokaslr", image), f"{work}.console")
    try:
        machine.wait_for("bench is through", LIMIT)
        return machine.console()
    finally:
        machine.stop()


GUEST = "bench"


def start_guest(column, work, image, settings, options=""):
    """A dom0 with the guest in it, ready to be told things."""
    files = {"/boot/bench.img": image}
    keys = {"ramdisk": "/boot/bench.img"}
    if column.kernel:
        files["/boot/bench-kernel"], keys["kernel"] = column.kernel, "/boot/bench-kernel"
    if column.machine == "xen":
        keys["tsc_mode"] = "native"  # else every system call of Linux traps for its rdtsc
    dom0 = Dom0(settings, work, "bench", files=files, hypervisor_options=column.hypervisor_options)
    try:
        dom0.guest(GUEST, options, memory=192, **keys)
        dom0.ok("sleep 6", LIMIT)  # the guest has the CPU to itself until it is up
        dom0.wait_guest(GUEST, LIMIT)
        return dom0
    except BaseException:
        dom0.stop()
        raise


def run_guest(column, work, image, settings):
    dom0 = start_guest(column, work, image, settings)
    try:
        # Nobody looks while it measures: dom0 shares the CPU.
        dom0.in_guest(GUEST, "(/bench/init >/tmp/bench.out 2>&1; mv /tmp/bench.out /tmp/bench.done) >/dev/null 2>&1 &")
        for _ in range(60):
            dom0.ok("sleep 4", LIMIT)
            if dom0.run(f"/usr/lib/domus/guest-run {GUEST} 60 'cat /tmp/bench.done'", 120).status == 0:
                break
        return dom0.in_guest(GUEST, "cat /tmp/bench.done", 60)
    finally:
        dom0.stop()


def run_script(column, work, script, **settings):
    """What /bench/init printed, with `script` in its place."""
    os.makedirs(os.path.dirname(work), exist_ok=True)
    run_it = run_native if column.native else run_guest
    return run_it(column, f"{work}-{column.machine}", ramdisk(script), column.settings(cpus=1, **settings))


def run(column, work, wanted, icount):
    """{row: figures of each run}, nanoseconds or instructions per operation."""
    text = run_script(column, work, script_for(wanted), icount=icount)
    figures = {row: [float(n) for n in re.findall(rf"row {re.escape(row)}: ([0-9.]+)", text)] for row in wanted}
    short = [row for row, values in figures.items() if len(values) != RUNS]
    if short or "bench failed" in text:
        raise Failure(f"rows without three figures: {short}\n{text[-2000:]}")
    return figures
