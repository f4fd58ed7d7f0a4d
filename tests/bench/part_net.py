"""Rows of the network: one TCP connection each way, small packets each way and ping between dom0 and a guest, in counted
time (as in part_boot) and by the wall clock. Linux's netfront on Linux's netback and on domus-netd, and domus-netfront on
domus-netd. Called by run.py.
"""
import os
import re
import subprocess

import qemu
from cpio import Tree
from micro import behind_domu
from harness.dom0 import Dom0
from harness.machine import Failure

TITLE = "network"
DOWN, UP = "TCP, dom0 to guest", "TCP, guest to dom0"
SMALL_DOWN, SMALL_UP, PING = "64-byte packets, dom0 to guest", "64-byte packets, guest to dom0", "ping"
KINDS = [DOWN, UP, SMALL_DOWN, SMALL_UP, PING]
OURS = "domus.frontends=domus"  # on a guest's command line: domus-netfront
# What carries the packets, and for it: what the guest's vif says, and the guest's command line.
DRIVERS = {"netback": (",backendtype=linux", ""), "domus-netd": (",backendtype=domus", ""),
           "domus-netfront": (",backendtype=domus", OURS)}
CLOCKS = {"counted": True, "wall clock": False}  # and whether QEMU counts
ROWS = [f"{what}, {driver}, {clock}" for clock in CLOCKS for what in KINDS for driver in DRIVERS]
MIB, PACKETS, ROUNDS = 64, 20000, 3
DOM0, ADDRESS, PORT = "10.9.0.1", "10.9.0.5", 8001
LIMIT = 600  # seconds of wall time for one command
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "net_program", "load.c")
BUILT = os.path.join(qemu.BUILD, "bench")


def measure(column, work, wanted):
    """A boot for each clock, a guest for each driver in it. A column without a driver leaves its rows out."""
    figures = {}
    for clock, icount in CLOCKS.items():
        chosen = [d for d in DRIVERS if any(row.endswith(f", {d}, {clock}") for row in wanted)]
        if not column.native and chosen:
            boot(column, f"{work}-{column.machine}", clock, icount, chosen, wanted, figures)
    return figures


def boot(column, work, clock, icount, drivers, wanted, figures):
    settings = column.settings(icount=icount)
    dom0 = Dom0(settings, work, "bench", files=dom0_files(), hypervisor_options=column.hypervisor_options)
    try:
        for driver in drivers:
            kinds = [kind for kind in KINDS if f"{kind}, {driver}, {clock}" in wanted]
            if kinds and (driver == "netback" or settings.tools == "domus"):
                start(dom0, *(DRIVERS[driver] if settings.tools == "domus" else ("", "")))
                for kind in kinds:
                    figures[f"{kind}, {driver}, {clock}"] = min(TAKE[kind](dom0) for _ in range(ROUNDS))
                end(dom0)
    finally:
        dom0.stop()


def dom0_files():
    """The program for dom0, and the guest's RAM disk with it."""
    os.makedirs(BUILT, exist_ok=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", f"{BUILT}/net-load", SOURCE], check=True)
    tree = Tree()
    tree.copy(f"{BUILT}/net-load", "/bench/load", 0o755)
    return {"/boot/bench.img": behind_domu(tree, "net.img"), "/usr/lib/domus/load": f"{BUILT}/net-load"}


def start(dom0, backend, options):
    """A guest whose vif says `backend`, with `options` on its command line, and both sides' files served."""
    # Memory enough for the whole file: half of it is the guest's root.
    dom0.guest("bench", options, memory=256, ramdisk="/boot/bench.img", vif=[f"mac=00:16:3e:00:00:55,bridge=xenbr0{backend}"])
    dom0.ok("sleep 8; chmod +x /usr/lib/domus/load", LIMIT)  # the guest has the CPU to itself until it is up
    dom0.wait_guest("bench", LIMIT)
    dom0.in_guest("bench", f"ip link set eth0 up; ip addr add {ADDRESS}/24 dev eth0; ping -c 5 -W 5 {DOM0}", LIMIT)
    file = f"dd if=/dev/zero of=/tmp/data bs=1M count={MIB} && httpd -p {PORT} -h /tmp"
    dom0.ok(file, LIMIT)
    dom0.in_guest("bench", file, LIMIT)


def end(dom0):
    dom0.ok("kill $(pidof httpd)")
    dom0.tool("destroy bench")
    dom0.wait_gone("bench")


def fetch(address):
    return f"/bin/busybox wget -qO /dev/null http://{address}:{PORT}/data"


def timed(address):
    """A command that fetches the other side's file and prints the kernel's nanoseconds before and after."""
    now = 'grep "^now at" /proc/timer_list'
    return f"{now} && {fetch(address)} && {now}"


def seconds(output):
    begin, end = (int(n) for n in re.findall(r"now at (\d+) nsecs", output))
    return (end - begin) / 1e9


def down(dom0):
    return seconds(dom0.in_guest("bench", timed(DOM0), LIMIT))


def up(dom0):
    return seconds(dom0.ok(timed(ADDRESS), LIMIT))


def packet_time(output):
    """Seconds for each packet that arrived, at the receiver's."""
    found = re.search(r"received (\d+) in (\d+)", output)
    if not found or int(found.group(1)) == 0:
        raise Failure(f"no small packets came: {output}")
    return int(found.group(2)) / int(found.group(1)) / 1e9


def small_down(dom0):
    dom0.in_guest("bench", "(/bench/load receive 8003 >/tmp/small 2>&1; mv /tmp/small /tmp/done) >/dev/null 2>&1 &", LIMIT)
    dom0.ok(f"sleep 1; /usr/lib/domus/load send {ADDRESS} 8003 {PACKETS} 64", LIMIT)
    dom0.until("/usr/lib/domus/guest-run bench 20 'cat /tmp/done'", 60)
    return packet_time(dom0.in_guest("bench", "cat /tmp/done; rm /tmp/done", LIMIT))


def small_up(dom0):
    # Not the shell's own child: one that ends while ash reads the next command's lines breaks that command off.
    dom0.ok("((/usr/lib/domus/load receive 8003 >/tmp/small 2>&1; mv /tmp/small /tmp/done) >/dev/null 2>&1 &)")
    dom0.in_guest("bench", f"sleep 1; /bench/load send {DOM0} 8003 {PACKETS} 64", LIMIT)
    dom0.until("cat /tmp/done", 60)
    return packet_time(dom0.ok("cat /tmp/done; rm /tmp/done"))


def ping(dom0):
    """Seconds of a round trip, the median of 20: dom0 is busy with the console while the first is on its way."""
    said = dom0.in_guest("bench", f"ping -c 20 {DOM0}", LIMIT)
    times = sorted(float(t) for t in re.findall(r"time=([0-9.]+) ms", said))
    if len(times) != 20:
        raise Failure(f"ping said: {said}")
    return times[10] / 1000


TAKE = {DOWN: down, UP: up, SMALL_DOWN: small_down, SMALL_UP: small_up, PING: ping}


def text(row, figure):
    if row.startswith((DOWN, UP)):
        return f"{MIB * 8 * 1048576 / 1e9 / figure:.2f} Gbit/s"
    return f"{figure * 1e6:.1f} us"
