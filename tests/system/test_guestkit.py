"""Guests of guestkit as domUs: the kit's frontends on the backends of dom0, all in one boot of its own (their images are
in its RAM disk)."""
import os

import qemu
from harness.dom0 import Dom0
from harness.kit import new_guest

LOG = "/var/log/domus/console"


def test_the_kits_guests_as_domus(host):
    files = {f"/boot/{name}.elf": os.path.join(qemu.BUILD, "guests", f"{name}.elf") for name in ("disk", "ping")}
    files.update(new_guest(os.path.join(host.work, "new-guest"), "fresh"))
    files.update({f"/root/echo/{os.path.basename(path)}": path for path in (
        f"{qemu.BUILD}/product/labs/echod", f"{qemu.BUILD}/guests/echo.elf", f"{qemu.ROOT}/labs/echo/echo.cfg",
        f"{qemu.ROOT}/labs/echo/plug")} if host.settings.tools == "domus" else {})
    dom0 = Dom0(host.settings, host.work, "guestkit", files=files)
    try:
        disk_is_read_written_and_flushed(dom0, "")
        if dom0.tool_name == "domus":
            disk_is_read_written_and_flushed(dom0, ",backendtype=linux")
            disk_outlives_its_backend(dom0, "")
            disk_outlives_its_backend(dom0, ",persistent")
            ping_is_answered(dom0, ",backendtype=linux")
            ping_is_answered(dom0, ",backendtype=domus")
            new_guest_boots_and_answers(dom0)
            echo_device_answers(dom0)
        else:
            ping_is_answered(dom0, "")
    finally:
        dom0.stop()


def disk_is_read_written_and_flushed(dom0, backend):
    image = dom0.disk("/tmp/kit.disk", 4)
    dom0.ok("echo 'This disk was written by dom0.' | dd of=/tmp/kit.disk conv=notrunc 2>/dev/null")
    entry = f"{image},xvda,w" if image.startswith("phy:") else f"{image},raw,xvda,rw{backend}"
    said = run(dom0, "disk", "disk guest: ", disk=[entry])
    assert "disk: 8192 sectors of 512 bytes\n" in said, said
    assert "first sector: This disk was written by dom0." in said, said
    assert "pattern read back, beyond the end refused, 0 grants left" in said, said
    assert "disk guest: done 0" in said, said
    assert not backend or ", persistent grants\n" in said, said  # Linux's backend always offers them
    # The pattern of examples/disk.cpp, byte i is i * 7 + i / 512, from sector 8 on: here is its beginning and its end.
    there = dom0.ok("dd if=/tmp/kit.disk bs=512 skip=8 count=512 2>/dev/null | od -An -v -tu1 -w1 | "
                    "awk '{ if ($1 != (n * 7 + int(n / 512)) % 256) bad++; n++ } END { print n, bad + 0 }'").split()
    assert there == ["262144", "0"], there
    dom0.ok("rm /tmp/kit.disk")


def disk_outlives_its_backend(dom0, flag):
    """domus-blockd is killed while four tasks write and read back, three times; and before that, what was negotiated."""
    image = dom0.disk("/tmp/kit.disk", 4)
    create(dom0, "disk", disk=[f"{image},raw,xvda,rw,backendtype=domus{flag}"], extra="rounds=300")
    log = f"{LOG}/disk.log"
    for lines in (2, 20, 40):
        dom0.until(f"[ $(grep -c 'rounds$' {log}) -ge {lines} ]", 90)
        old = dom0.ok("pidof domus-blockd").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof domus-blockd) && [ $p != {old} ]", 60)
    said = last_words(dom0, "disk", "disk guest: ", 240)
    kept = ", persistent grants" if flag else ""
    assert f"disk: 4 queues, 512 requests of 64 segments{kept}\n" in said, said
    assert "load: 1200 rounds, 0 wrong, 0 failed, 0 reconnects\n" in said, said
    assert "disk guest: done 0" in said, said
    dom0.ok("rm /tmp/kit.disk")


def ping_is_answered(dom0, backend):
    """The kit's network card on dom0's netback and on domus-netd: five answers, and the guest ends."""
    vif = f"mac=00:16:3e:00:00:09,bridge=xenbr0{backend}"
    create(dom0, "ping", vif=[vif], extra="ip=10.9.0.9")
    dom0.until("ping -c 1 -W 2 10.9.0.9", 60)
    dom0.ok("ping -c 4 -W 10 -s 1400 10.9.0.9", 90)
    said = last_words(dom0, "ping", "ping guest: ")
    assert "card 00:16:3e:00:00:09 at 10.9.0.9\n" in said, said
    assert "0 grants left, 0 frames dropped" in said, said
    assert "ping guest: done 0" in said, said


def new_guest_boots_and_answers(dom0):
    """One command, in the folder that `domus new-guest` wrote: the guest on the terminal, until an empty line ends it."""
    dom0.ok("mkfifo /tmp/typed; (sleep 1000 >/tmp/typed & echo $! >/tmp/typist)\n"
            "(cd /root/fresh; domus create -c fresh.cfg </tmp/typed >/tmp/shown 2>&1 &)")
    dom0.until("grep -q '^hello from fresh' /tmp/shown && grep -q '^no disk: error 2' /tmp/shown", 60)
    dom0.ok("echo abc >/tmp/typed")
    dom0.until("grep -q \"^you typed 'abc'\" /tmp/shown", 60)
    dom0.ok("echo >/tmp/typed; kill $(cat /tmp/typist)")
    dom0.wait_gone("fresh")
    said = dom0.ok(f"cat {LOG}/fresh.log")
    assert said.rstrip().endswith("you typed ''; an empty line ends it"), said  # its last words were read before its end


def echo_device_answers(dom0):
    """The lab's two halves on the machine, by the commands of docs/writing-a-driver.md."""
    dom0.ok("(cd /root/echo; ./echod >/tmp/echod.log 2>&1 & echo $! >/tmp/echod.pid)\n"
            "cd /root/echo && domus create -p echo.cfg && ./plug echo && domus unpause echo; made=$?; cd /; [ $made = 0 ]")
    dom0.until(f"grep -q '^echo: connected' {LOG}/echo.log", 60)
    dom0.ok("(sleep 1000 >/tmp/typed & echo $! >/tmp/typist)\n(domus console echo </tmp/typed >/tmp/shown 2>&1 &)\n"
            "echo 'hello, Zürich' >/tmp/typed")
    dom0.until("grep -q '^HELLO, ZüRICH' /tmp/shown", 60)
    dom0.ok("echo >/tmp/typed; kill $(cat /tmp/typist)")
    dom0.wait_gone("echo")
    assert dom0.ok(f"cat {LOG}/echo.log").rstrip().endswith("echo: done 0")
    log = dom0.ok("cat /tmp/echod.log; kill $(cat /tmp/echod.pid)")
    assert ": connected" in log and ": closed" in log and "error" not in log, log


def run(dom0, name, last, **keys):
    """Creates a guest, waits for its last line, and gives all that it said; the guest is gone then."""
    create(dom0, name, **keys)
    return last_words(dom0, name, last)


def create(dom0, name, **keys):
    dom0.ok(f"rm -f {LOG}/{name}.log")
    path = dom0.config(name, **{"kernel": f"/boot/{name}.elf", "ramdisk": None, "memory": 16, "on_poweroff": "preserve",
                                **keys})
    dom0.tool(f"create {path}")


def last_words(dom0, name, last, seconds=60):
    dom0.until(f"grep -q '^{last}' {LOG}/{name}.log", seconds)
    said = dom0.ok(f"cat {LOG}/{name}.log")
    dom0.tool(f"destroy {name}")
    dom0.wait_gone(name)
    return said
