"""The tools that people measure devices with, Debian's fio and iperf3, in guests with Linux's frontends and with ours, on our
daemons, which are killed under way: fio judges every block that it wrote, iperf3 what arrived."""
import json

from harness.dom0 import Dom0
from harness.guest import image_with_installed
from harness.programs import programs
from harness.runner import only

FIO, IPERF3 = "/usr/bin/fio", "/usr/bin/iperf3"
ADDRESS, DOM0 = "10.9.0.5", "10.9.0.1"
IN = "/usr/lib/domus/guest-run tools 20 '{}'"
# Each writes all of its 16 MiB in a random order, blocks that say where they belong and bear their sum, then reads and judges
# them: in whole pages, and in pieces of one sector to 256, at any sector.
JOBS = {"pages": "--offset=0 --rw=randwrite --bs=4k --iodepth=32",
        "pieces": "--offset=16m --rw=randwrite --bsrange=512-128k --blockalign=512 --iodepth=16"}
VERIFIED = "--filename=/dev/xvda --size=16m --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 " \
           "--verify_state_save=0 --output-format=json"
SECONDS = 8


@only(tools="domus")
def test_fio_and_iperf3(host):
    files = {**programs(IPERF3), "/boot/tools.img": image_with_installed(host, "tools", FIO, IPERF3)}
    dom0 = Dom0(host.settings, host.work, "fio-iperf3", files=files)
    try:
        dom0.ok("(iperf3 -s >/dev/null 2>&1 &)")
        for frontends in ("linux", "domus"):
            start(dom0, frontends)
            for name, job in JOBS.items():
                fio(dom0, name, job)
            for way in ("", "-R"):
                iperf3(dom0, way)
            dom0.tool("destroy tools")
            dom0.wait_gone("tools")
    finally:
        dom0.stop()


def start(dom0, frontends):
    disk = dom0.disk("/tmp/tools.disk", 32)
    dom0.guest("tools", f"domus.frontends={frontends}", ramdisk="/boot/tools.img", memory=320, vcpus=2,
               disk=[f"{disk},raw,xvda,rw"], vif=["mac=00:16:3e:00:00:55,bridge=xenbr0"])
    dom0.wait_guest("tools", 240)
    dom0.until(IN.format("[ -e /dev/xvda ] && [ -e /sys/class/net/eth0 ]"), 60)
    dom0.in_guest("tools", f"ip link set eth0 up; ip addr add {ADDRESS}/24 dev eth0")
    dom0.until(IN.format(f"ping -c 1 -W 2 {DOM0}"), 60)


def fio(dom0, name, job):
    """Under way the daemon is killed twice."""
    run_in_guest(dom0, f"fio --name={name} {job} {VERIFIED}", "domus-blockd", 2)
    said = json.loads(dom0.in_guest("tools", "cat /tmp/said"))["jobs"][0]
    assert said["error"] == 0, said
    for what in ("write", "read"):
        assert said[what]["io_bytes"] == 16 << 20, f"{name}: {said[what]['io_bytes']} bytes of 16 MiB: {what}"


def iperf3(dom0, way):
    """Two connections; the daemon is killed once."""
    run_in_guest(dom0, f"iperf3 -c {DOM0} -P 2 -t {SECONDS} --json {way}", "domus-netd", 1)
    said = json.loads(dom0.in_guest("tools", "cat /tmp/said"))
    assert "error" not in said, said["error"]
    arrived = [stream["receiver"]["bytes"] for stream in said["end"]["streams"]]
    seconds = [second["sum"]["bytes"] for second in said["intervals"]]
    assert len(arrived) == 2 and min(arrived) > 0, f"{way}: {arrived} bytes arrived"
    assert sum(seconds[-3:]) > 0, f"{way}: nothing went after the daemon was killed: {seconds}"


def run_in_guest(dom0, command, daemon, kills):
    """Its output is in /tmp/said."""
    dom0.in_guest("tools", f"rm -f /tmp/status; ({command} >/tmp/said 2>/tmp/error; echo $? >/tmp/status) >/dev/null 2>&1 &")
    for _ in range(kills):
        old = dom0.ok(f"sleep 1; pidof {daemon}").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof {daemon}) && [ $p != {old} ]", 60)
    dom0.until(IN.format("[ -e /tmp/status ]"), 300)
    assert dom0.in_guest("tools", "cat /tmp/status /tmp/error") == "0\n", dom0.in_guest("tools", "cat /tmp/error /tmp/said")
