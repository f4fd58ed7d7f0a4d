"""domus-blockd's medium works on the guest's pages themselves (persistent grants), past the page cache: a file on ext4, a
SCSI disk (scsi_debug, whose bad sectors can be switched on) and a loop device."""
import subprocess

from harness.dom0 import Dom0
from harness.guest import image_with
from harness.modules import load, module_files
from harness.runner import only

MODULES = ("crc32c_generic", "ext4", "crct10dif_generic", "sd_mod", "scsi_debug")
IN = "/usr/lib/domus/guest-run io 20 '{}'"
BAD = 0x1234  # scsi_debug's first bad sector
MIB = 4       # of each disk are written and read
DISKS = {"xvda": "/mnt/file.img", "xvdb": "/dev/sda", "xvdc": "/dev/loop7"}


@only(tools="domus")
def test_media_work_on_the_guests_pages(host):
    files = {"/boot/io.img": image_with(host, "direct_io"), "/srv/ext4": ext4(host),
             **module_files(host.settings, "/lib/disks", MODULES)}
    dom0 = Dom0(host.settings, host.work, "direct-io", files=files)
    try:
        load(dom0, "/lib/disks")
        dom0.until("[ -e /dev/sda ]", 20)
        dom0.ok("mkdir -p /mnt; losetup /dev/loop6 /srv/ext4 && mount -t ext4 /dev/loop6 /mnt && dd if=/dev/urandom of=/mnt/file.img bs=1M count=8 2>/dev/null && "
                "truncate -s 16M /tmp/loop && losetup /dev/loop7 /tmp/loop", 120)
        dom0.guest("io", ramdisk="/boot/io.img", disk=[f"{path},raw,{name},rw,persistent" for name, path in DISKS.items()])
        dom0.wait_guest("io", 240)
        for name in DISKS:
            pieces_anywhere_in_their_pages(dom0, name)
        killed_under_way(dom0)
        full_file_system(dom0)
        bad_sector(dom0)
        log = dom0.ok("cat /var/log/domus/domus-blockd.log")
        assert "does not take" not in log and "copied, not mapped" not in log, log
        dom0.tool("destroy io")
        dom0.wait_gone("io")
        dom0.ok("umount /mnt && losetup -d /dev/loop6 && losetup -d /dev/loop7")
    finally:
        dom0.stop()


def pieces_anywhere_in_their_pages(dom0, name):
    dom0.until(IN.format(f"[ -e /dev/{name} ]"), 60)
    assert dom0.in_guest("io", f"/direct_io /dev/{name} {MIB} 400 /tmp/model", 180) == "ok 400\n"
    is_the_model(dom0, name)
    figures = dom0.figures("io", name)
    moved, direct = (sum(figures[f"q{queue}.{what}"] for queue in range(4) for what in kinds if f"q{queue}.{what}" in figures)
                     for kinds in (("reads", "writes"), ("direct",)))
    assert moved > 400 and direct > 0.9 * moved, f"{name}: {direct} of {moved} requests were done in place"


def killed_under_way(dom0):
    """What the kernel still moves to or from the guest's pages when their mapper is gone goes where it belongs."""
    for name in ("xvda", "xvdb"):
        dom0.in_guest("io", f"rm -f /tmp/stop /tmp/said; (/direct_io /dev/{name} {MIB} 1000000 /tmp/model /tmp/stop "
                            ">/tmp/said 2>&1; echo status $? >>/tmp/said) >/dev/null 2>&1 &")
        for _ in range(3):
            old = dom0.ok("sleep 1; pidof domus-blockd").strip()
            dom0.ok(f"kill -9 {old}")
            dom0.until(f"p=$(pidof domus-blockd) && [ $p != {old} ]", 60)
        dom0.in_guest("io", "sleep 1; touch /tmp/stop")
        dom0.until(IN.format("grep status /tmp/said"), 120)
        said = dom0.in_guest("io", "cat /tmp/said").split()
        assert said[0] == "ok" and int(said[1]) > 100 and said[2:] == ["status", "0"], said
        is_the_model(dom0, name)
        pieces_anywhere_in_their_pages(dom0, name)  # the process that came last works in place, too


def full_file_system(dom0):
    """What it refuses is the guest's error, soon, and what was there stays."""
    dom0.ok("truncate -s 96M /mnt/sparse.img")
    dom0.tool("block-attach io /mnt/sparse.img,raw,xvdd,rw,persistent")
    dom0.until(IN.format("[ -e /dev/xvdd ]"), 60)
    dom0.in_guest("io", "dd if=/tmp/model of=/dev/xvdd bs=128k oflag=direct conv=notrunc 2>/dev/null", 60)
    dom0.in_guest("io", "! dd if=/dev/zero of=/dev/xvdd bs=128k seek=64 count=700 oflag=direct 2>/dev/null", 180)
    assert dom0.figures("io", "xvdd")["q0.errors"] > 0
    assert dom0.in_guest("io", f"dd if=/dev/xvdd bs=128k count={8 * MIB} iflag=direct 2>/dev/null | cmp - /tmp/model && echo same",
                         60) == "same\n"
    dom0.tool("block-detach io xvdd")
    dom0.until(IN.format("[ ! -e /dev/xvdd ]"), 60)
    dom0.ok("rm /mnt/sparse.img")


def bad_sector(dom0):
    """It is that request's error alone, each time, until the sector is good again."""
    dom0.ok("echo 2 >/sys/bus/pseudo/drivers/scsi_debug/opts")
    for _ in range(2):
        dom0.in_guest("io", f"! dd if=/dev/xvdb of=/dev/null bs=4k skip={BAD // 8} count=1 iflag=direct 2>/dev/null", 60)
    dom0.in_guest("io", f"dd if=/dev/xvdb of=/dev/null bs=4k skip={BAD // 8 + 2} count=1 iflag=direct 2>/dev/null", 60)
    dom0.ok("echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts")
    is_the_model(dom0, "xvdb")


def is_the_model(dom0, name):
    expected = dom0.in_guest("io", "sha256sum </tmp/model").split()[0]
    there = dom0.ok(f"dd if={DISKS[name]} bs=1M count={MIB} iflag=direct 2>/dev/null | sha256sum", 60).split()[0]
    assert there == expected, f"{DISKS[name]} is not what the guest wrote"


def ext4(host):
    """An empty file system of 48 MiB."""
    path = f"{host.work}/direct-io-ext4"
    with open(path, "wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-F", path], check=True)
    return path
