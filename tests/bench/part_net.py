"""Rows of the network in counted time (as in part_boot): one TCP connection each way and ping between dom0 and a guest,
with Linux's netfront on Linux's netback and on domus-netd. Called by run.py.
"""
import re

from harness.dom0 import Dom0
from harness.machine import Failure

TITLE = "counted time"
DOWN, UP, PING = "TCP, dom0 to guest", "TCP, guest to dom0", "ping"
BACKENDS = {"netback": "", "domus-netd": ",backendtype=domus"}  # and what stands in the guest's vif for it
ROWS = [f"{what}, {backend}" for what in (DOWN, UP, PING) for backend in BACKENDS]
MIB = 64
ADDRESS, PORT = "10.9.0.5", 8001
LIMIT = 600  # seconds of wall time for one command


def measure(column, work, wanted):
    """All rows of a backend come from one guest. A column without it leaves its rows out."""
    if column.native:
        return {}
    settings = column.settings(icount=True)
    dom0 = Dom0(settings, f"{work}-{column.machine}", "bench", hypervisor_options=column.hypervisor_options)
    try:
        figures = {}
        for backend, option in BACKENDS.items():
            rows = [row for row in wanted if row.endswith(backend)]
            if rows and (not option or settings.tools == "domus"):
                figures.update(rows_of(dom0, backend, option, rows))
        return figures
    finally:
        dom0.stop()


def rows_of(dom0, backend, option, rows):
    dom0.guest("bench", vif=[f"mac=00:16:3e:00:00:55,bridge=xenbr0{option}"])
    dom0.ok("sleep 8")  # the guest has the CPU to itself until it is up
    dom0.wait_guest("bench", LIMIT)
    dom0.in_guest("bench", f"ip link set eth0 up; ip addr add {ADDRESS}/24 dev eth0; ping -c 5 -W 5 10.9.0.1", LIMIT)
    file = f"dd if=/dev/zero of=/tmp/data bs=1M count={MIB} 2>/dev/null; httpd -p {PORT} -h /tmp"
    take = {DOWN: lambda: down(dom0), UP: lambda: up(dom0), PING: lambda: ping(dom0)}
    dom0.ok(file, LIMIT)
    dom0.in_guest("bench", file, LIMIT)
    figures = {row: min(take[row.removesuffix(f", {backend}")]() for _ in range(3)) for row in rows}
    dom0.ok("kill $(pidof httpd)")
    dom0.tool("destroy bench")
    dom0.wait_gone("bench")
    return figures


def timed(address):
    """A command that fetches the other side's file and prints the kernel's nanoseconds before and after."""
    now = 'grep "^now at" /proc/timer_list'
    return f"{now} && wget -qO /dev/null http://{address}:{PORT}/data && {now}"


def seconds(output):
    begin, end = (int(n) for n in re.findall(r"now at (\d+) nsecs", output))
    return (end - begin) / 1e9


def down(dom0):
    return seconds(dom0.in_guest("bench", timed("10.9.0.1"), LIMIT))


def up(dom0):
    return seconds(dom0.ok(timed(ADDRESS), LIMIT))


def ping(dom0):
    """Seconds of a round trip, the median of 20: dom0 is busy with the console while the first is on its way."""
    said = dom0.in_guest("bench", "ping -c 20 10.9.0.1", LIMIT)
    times = sorted(float(t) for t in re.findall(r"time=([0-9.]+) ms", said))
    if len(times) != 20:
        raise Failure(f"ping said: {said}")
    return times[10] / 1000


def text(row, figure):
    return f"{figure * 1e6:.0f} us" if row.startswith(PING) else f"{MIB * 8 * 1048576 / 1e9 / figure:.2f} Gbit/s"
