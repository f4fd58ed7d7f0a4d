"""Disks at length (make test-long): images and servers through NBD, a driver domain, twenty kills under load."""
import os
import re
import subprocess

import qemu
from contents import add_program
from cpio import Tree
from harness.dom0 import Dom0
from harness.programs import programs
from harness.runner import long, only

IN = "/usr/lib/domus/guest-run {} 20 '{}'"
LOAD = """cat >/tmp/load-$1 <<"end"
round=0
while [ ! -e /tmp/stop ]; do
    yes $1-$round | dd of=/tmp/pattern-$1 bs=4k count=$2 iflag=fullblock 2>/dev/null
    dd if=/tmp/pattern-$1 of=/dev/$1 bs=$3 conv=fsync,notrunc 2>/dev/null || echo "$1, round $round: write"
    dd if=/dev/$1 bs=$3 count=$4 iflag=direct 2>/dev/null | cmp - /tmp/pattern-$1 || echo "$1, round $round: differs"
    round=$((round + 1))
done >/tmp/bad-$1 2>&1
echo $round >/tmp/rounds-$1
end
sh /tmp/load-$1 >/dev/null 2>&1 &"""


@long
@only(tools="domus")
def test_killed_twenty_times(dom0):
    """Two disks written and read back all the time, a third that comes and goes, and kill -9 of domus-blockd."""
    first, second, third = (dom0.disk(f"/tmp/d{i}.disk", 8) for i in range(3))
    dom0.guest("twenty", disk=[f"{first},raw,xvda,rw", f"{second},raw,xvdb,rw"])
    dom0.wait_guest("twenty")
    dom0.until(IN.format("twenty", "[ -e /dev/xvda -a -e /dev/xvdb ]"), 60)
    start_load(dom0, "twenty", "xvda", 1024, 64)
    start_load(dom0, "twenty", "xvdb", 64, 1)
    for kill in range(20):
        if kill % 4 == 0:
            dom0.tool(f"block-attach twenty {third},raw,xvdc,rw")
            dom0.until(IN.format("twenty", "[ -e /dev/xvdc ]"), 120)
        old = dom0.ok("pidof domus-blockd").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof domus-blockd) && [ $p != {old} ]", 60)
        dom0.in_guest("twenty", "[ $(dd if=/dev/xvda bs=4k count=1 skip=1500 iflag=direct 2>/dev/null | wc -c) = 4096 ]", 120)
        if kill % 4 == 2:
            dom0.tool("block-detach twenty xvdc")
            dom0.until(IN.format("twenty", "[ ! -e /dev/xvdc ]"), 120)
    stop_load(dom0, "twenty", "xvda", first, 1024)
    stop_load(dom0, "twenty", "xvdb", second, 64)
    destroy(dom0, "twenty")
    dom0.ok("rm /tmp/d?.disk")


@long
@only(tools="domus")
def test_images_and_servers(host):
    """A qcow2 image by its name, a full medium behind it, and an NBD server whose medium fails and recovers."""
    files = programs("/usr/bin/qemu-nbd", "/usr/sbin/nbdkit" if os.path.exists("/usr/sbin/nbdkit") else "/usr/bin/nbdkit")
    nbdkit = subprocess.run(["nbdkit", "--dump-config"], capture_output=True, text=True, check=True).stdout
    folder = dict(re.findall(r"^(plugindir|filterdir)=(.*)$", nbdkit, re.MULTILINE))
    files.update(programs(f"{folder['plugindir']}/nbdkit-memory-plugin.so", f"{folder['filterdir']}/nbdkit-error-filter.so",
                          library("libnbd.so.0")))
    image = os.path.join(host.work, "disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    files["/srv/disk.qcow2"] = image
    dom0 = Dom0(host.settings, host.work, "disks-nbd", files=files)
    try:
        qcow2(dom0)
        full(dom0)
        failing(dom0)
    finally:
        dom0.stop()


def qcow2(dom0):
    dom0.guest("image", disk=["/srv/disk.qcow2,qcow2,xvda,rw"])
    dom0.wait_guest("image")
    dom0.until(IN.format("image", "[ -e /dev/xvda ]"), 60)
    assert dom0.in_guest("image", "cat /sys/block/xvda/size").strip() == str(64 << 11)
    assert "/srv/disk.qcow2" in dom0.tool("block-list image --json")
    assert "is in use" in dom0.refused("domus block-attach image /srv/disk.qcow2,qcow2,xvdb,rw")
    expected = write(dom0, "image", "xvda", 4)
    old = dom0.ok("pidof domus-blockd").strip()
    dom0.ok(f"kill -9 {old}")
    assert read(dom0, "image", "xvda", 4) == expected
    dom0.tool("block-detach image xvda")
    dom0.until(IN.format("image", "[ ! -e /dev/xvda ]"), 60)
    dom0.until("! pidof qemu-nbd && [ -z \"$(ls /run/domus/nbd)\" ]", 30)
    dom0.tool("block-attach image /srv/disk.qcow2,qcow2,xvda,rw")
    dom0.until(IN.format("image", "[ -e /dev/xvda ]"), 60)
    assert read(dom0, "image", "xvda", 4) == expected
    destroy(dom0, "image")
    dom0.until("! pidof qemu-nbd", 30)
    dom0.ok("dd if=/dev/zero of=/srv/bad.qcow2 bs=64k count=1 2>/dev/null")
    bad = dom0.config("bad", disk=["/srv/bad.qcow2,qcow2,xvda,rw"])
    assert "not in qcow2 format" in dom0.refused(f"domus create {bad}")
    dom0.ok("mv /usr/bin/qemu-nbd /usr/bin/qemu-nbd.away")
    assert "apt install qemu-utils" in dom0.refused(f"domus create {bad}")
    dom0.ok("mv /usr/bin/qemu-nbd.away /usr/bin/qemu-nbd; [ -z \"$(ls /run/domus/nbd)\" ]")


def full(dom0):
    """What a full file system refuses is the guest's error, and what was there stays."""
    dom0.ok("mkdir -p /tmp/small; mount -t tmpfs -o size=4m none /tmp/small; truncate -s 16M /tmp/small/raw; "
            "qemu-nbd --fork --persistent --format=raw --socket=/tmp/small.sock /tmp/small/raw")
    dom0.guest("full", disk=["nbd+unix:///?socket=/tmp/small.sock,raw,xvda,rw"])
    dom0.wait_guest("full")
    dom0.until(IN.format("full", "[ -e /dev/xvda ]"), 60)
    expected = write(dom0, "full", "xvda", 1)
    dom0.in_guest("full", "! dd if=/dev/zero of=/dev/xvda bs=1M seek=2 count=12 oflag=direct 2>/dev/null", 120)
    assert read(dom0, "full", "xvda", 1) == expected
    destroy(dom0, "full")
    dom0.ok("kill $(pidof qemu-nbd)")
    dom0.until("! pidof qemu-nbd && umount /tmp/small", 30)


def failing(dom0):
    dom0.ok("nbdkit -U /tmp/bad.sock --filter=error memory 16M error=EIO error-rate=100% error-file=/tmp/fail")
    dom0.guest("failing", disk=["nbd+unix:///?socket=/tmp/bad.sock,raw,xvda,rw"])
    dom0.wait_guest("failing")
    dom0.until(IN.format("failing", "[ -e /dev/xvda ]"), 60)
    expected = write(dom0, "failing", "xvda", 2)
    dom0.ok("touch /tmp/fail")
    dom0.in_guest("failing", "! dd if=/dev/xvda of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null", 60)
    dom0.in_guest("failing", "! dd if=/dev/zero of=/dev/xvda bs=64k count=1 oflag=direct 2>/dev/null", 60)
    dom0.ok("rm /tmp/fail")
    assert read(dom0, "failing", "xvda", 2) == expected
    destroy(dom0, "failing")
    dom0.ok("kill $(pidof nbdkit)")


@long
@only(tools="domus")
def test_a_disk_served_by_another_guest(host):
    """A driver domain: domus-blockd in a guest serves another one's disk; it is killed, and goes on; the domain ends."""
    tree = Tree()
    for name in ("domus-blockd", "domus-blockd-opener"):
        add_program(tree, os.path.join(qemu.BUILD, "product", "backend-drivers", "block", name), f"/usr/bin/{name}")
    packed = tree.pack(1)
    dom0 = Dom0(host.settings, host.work, "disks-driver", files={"/boot/blockd.img": packed})
    try:
        dom0.ok("cat /boot/domu.img /boot/driver-net.img /boot/blockd.img >/tmp/driver.img")
        dom0.guest("store", ramdisk="/tmp/driver.img", memory=224)
        dom0.wait_guest("store")
        dom0.until(IN.format("store", "grep -q serving /var/log/domus/domus-netd.log"), 60)  # its modules are loaded
        serve = "(domus-blockd --xenstore /dev/xen/xenbus >>/tmp/blockd.log 2>&1 &) >/dev/null 2>&1"
        dom0.in_guest("store", f"dd if=/dev/urandom of=/tmp/disk bs=1M count=8 2>/dev/null; {serve}")
        dom0.until(IN.format("store", "cat /tmp/blockd.log; grep -q serving /tmp/blockd.log"), 60)
        dom0.guest("served", disk=["/tmp/disk,raw,xvda,rw,backend=store"])
        dom0.wait_guest("served")
        dom0.until(IN.format("served", "[ -e /dev/xvda ]"), 60)
        assert f"/local/domain/{dom0.domid('store')}/backend/domus-vbd/" in dom0.tool("block-list served")
        there = dom0.in_guest("store", "sha256sum </tmp/disk", 60).split()[0]
        assert read(dom0, "served", "xvda", 8) == there
        expected = write(dom0, "served", "xvda", 4)
        dom0.in_guest("store", f"kill -9 $(pidof domus-blockd); {serve}")
        assert read(dom0, "served", "xvda", 4) == expected
        assert dom0.in_guest("store", "dd if=/tmp/disk bs=1M count=4 2>/dev/null | sha256sum").split()[0] == expected
        destroy(dom0, "store")
        dom0.until(IN.format("served", "[ ! -e /dev/xvda ]"), 60)
        destroy(dom0, "served")
    finally:
        dom0.stop()


def start_load(dom0, name, disk, pages, at_once):
    """Writes what only it can know to so many pages, so many at once, and reads them back, until stop_load()."""
    text = LOAD.replace("$1", disk).replace("$2", str(pages)).replace("$3", f"{4 * at_once}k").replace("$4", str(pages // at_once))
    dom0.in_guest(name, text)


def stop_load(dom0, name, disk, image, pages):
    dom0.in_guest(name, "touch /tmp/stop")
    dom0.until(IN.format(name, f"[ -e /tmp/rounds-{disk} ]"), 180)
    bad = dom0.in_guest(name, f"cat /tmp/bad-{disk}")
    assert not bad.strip(), f"the load found wrong data or an error: {bad}"
    assert int(dom0.in_guest(name, f"cat /tmp/rounds-{disk}")) > 0
    there = dom0.ok(f"dd if={image} bs=4k count={pages} 2>/dev/null | sha256sum").split()[0]
    assert there == dom0.in_guest(name, f"sha256sum </tmp/pattern-{disk}").split()[0]


def write(dom0, name, disk, mib):
    dom0.in_guest(name, f"dd if=/dev/urandom of=/tmp/p bs=1M count={mib} 2>/dev/null; "
                        f"dd if=/tmp/p of=/dev/{disk} bs=1M conv=fsync,notrunc 2>/dev/null", 120)
    return dom0.in_guest(name, "sha256sum </tmp/p").split()[0]


def read(dom0, name, disk, mib):
    """Past the guest's cache."""
    return dom0.in_guest(name, f"dd if=/dev/{disk} bs=1M count={mib} iflag=direct 2>/dev/null | sha256sum", 120).split()[0]


def library(name):
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[-1] for line in listed.splitlines() if line.split()[:1] == [name])


def destroy(dom0, name):
    dom0.tool(f"destroy {name}")
    dom0.wait_gone(name)
