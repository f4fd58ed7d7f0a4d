"""kill -9 of each of dom0's daemons while a guest runs: the guest does not notice, and everything works again."""
from harness.runner import only


def guest_with_all(dom0, name):
    disk = dom0.disk(f"/tmp/{name}.disk", 8)
    dom0.guest(name, "domus.check=net", disk=[f"{disk},raw,xvda,rw"], vif=["bridge=xenbr0"])
    dom0.wait_guest(name)
    assert "domus-vbd" in dom0.tool(f"block-list {name} --json"), "domus-blockd is the default"
    dom0.in_guest(name, f"echo kept >/tmp/mark; dd if=/dev/urandom of=/dev/xvda bs=1M count=2 conv=fsync 2>/dev/null")
    return dom0.domid(name)


def kill(dom0, program):
    """Ends the daemon the hard way and waits until init has started it again."""
    old = dom0.ok(f"pidof {program}").split()[0]
    dom0.ok(f"kill -9 {old}")
    dom0.until(f"pidof {program} && [ \"$(pidof {program})\" != {old} ]", 20)


def still_well(dom0, name, domid):
    dom0.until("domus list", 30)
    assert dom0.domid(name) == domid
    assert dom0.in_guest(name, "cat /tmp/mark").strip() == "kept"
    dom0.in_guest(name, "dd if=/dev/xvda of=/dev/null bs=1M count=2 2>/dev/null && ping -c 2 -W 5 10.9.0.1")
    # New work goes through every daemon: attach a disk, create and end another guest, end this one.
    dom0.disk("/tmp/later.disk", 4)
    dom0.tool(f"block-attach {name} /tmp/later.disk,raw,xvdb,rw")
    dom0.until(f"/usr/lib/domus/guest-run {name} 10 '[ -e /dev/xvdb ]'", 60)
    dom0.guest("other")
    dom0.wait_guest("other")
    dom0.tool("destroy other")
    dom0.wait_gone("other")
    dom0.tool(f"shutdown {name}")
    dom0.wait_gone(name, 90)


@only(tools="domus")
def test_domusd(dom0):
    domid = guest_with_all(dom0, "kd")
    kill(dom0, "domusd")
    still_well(dom0, "kd", domid)


@only(tools="domus")
def test_store(dom0):
    domid = guest_with_all(dom0, "ks")
    dom0.ok("xenstore-write /local/domain/0/before-kill value")
    before = dom0.ok(f"xenstore-ls -p /local/domain/{domid}")
    kill(dom0, "domus-xenstored")
    dom0.until("xenstore-exists /local/domain/0", 20)
    assert dom0.ok("xenstore-read /local/domain/0/before-kill").strip() == "value"
    assert dom0.ok(f"xenstore-ls -p /local/domain/{domid}") == before
    still_well(dom0, "ks", domid)
    dom0.ok("xenstore-rm /local/domain/0/before-kill")


@only(tools="domus")
def test_console(dom0):
    domid = guest_with_all(dom0, "kc")
    kill(dom0, "domus-consoled")
    dom0.wait_guest("kc")
    still_well(dom0, "kc", domid)


@only(tools="domus")
def test_console_and_other_backends_hold_no_privcmd(dom0):
    """It holds no device that takes them, and its user cannot open one: neither before, with, nor after a guest. Nor do
    the other backends."""
    def look():
        for program in ("domus-consoled", "domus-blockd", "domus-netd"):
            held = dom0.ok(f"for pid in $(pidof {program}); do ls -l /proc/$pid/fd; done")
            assert "/dev/xen/gntdev" in held and "/dev/xen/evtchn" in held, (program, held)
            assert "privcmd" not in held and "hypercall" not in held, (program, held)
    look()
    assert dom0.ok("stat -L -c '%a %u' /dev/xen/privcmd").split() == ["600", "0"]
    dom0.guest("ch")
    dom0.wait_guest("ch")
    look()
    kill(dom0, "domus-consoled")
    assert dom0.in_guest("ch", "echo $((6 * 7))").strip() == "42"  # by the new daemon: guest-run is on the console
    look()
    dom0.tool("destroy ch")
    dom0.wait_gone("ch")
    look()


@only(tools="domus")
def test_console_of_a_guest_that_ends(dom0):
    """The terminal is told, the log stays, and nothing of the guest is kept mapped."""
    free = dom0.free_memory()
    dom0.guest("ce")
    dom0.wait_guest("ce")
    dom0.ok("(domus console ce </dev/null >/tmp/ce.out 2>&1; echo $? >/tmp/ce.status) & :")
    dom0.until("[ -s /tmp/ce.out ]", 20)
    dom0.tool("destroy ce")
    dom0.wait_gone("ce")
    dom0.until("[ -e /tmp/ce.status ]", 20)
    dom0.ok("[ -s /var/log/domus/console/ce.log ]")
    assert dom0.free_memory() == free
    said = dom0.refused("domus console ce 2>&1")
    assert "ce" in said, said


@only(tools="domus")
def test_domusd_in_the_middle_of_a_create(dom0):
    free = dom0.free_memory()
    path = dom0.config("middle", disk=[f"{dom0.disk('/tmp/middle.disk', 4)},raw,xvda,rw"])
    dom0.ok(f"domus create {path} >/tmp/middle.out 2>&1 & sleep 0.3; kill -9 $(pidof domusd); wait")
    dom0.until("domus list", 30)
    # Either it was done before the kill, or nothing of it is left.
    if dom0.domains():
        dom0.tool("destroy middle")
        dom0.wait_gone("middle")
    dom0.until("! losetup -a | grep -q middle.disk", 20)
    assert dom0.free_memory() == free
