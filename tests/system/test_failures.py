"""Creates that cannot work: a clear message, and nothing left: no domain, no memory, no store nodes, no loop device."""
import re

from harness.runner import only

KERNEL_HEAD = "dd if=/boot/vmlinuz of=/tmp/half bs=64k count=20 2>/dev/null"


def refused_and_clean(dom0, words, prepare="true", **keys):
    """A create with these keys fails, says one of `words`, and leaves everything as it was."""
    dom0.ok(prepare)
    path = dom0.config("wrong", **keys)
    before = state(dom0)
    message = dom0.refused(f"{dom0.tool_name} create {path}", 120)
    assert any(word in message for word in words), f"the message names none of {words}:\n{message}"
    after = state(dom0)
    assert after == before, f"left behind:\nbefore: {before}\nafter:  {after}"


def state(dom0):
    # A folder that is not there yet is as good as an empty one.
    return {"domains": dom0.domains(), "free": dom0.free_memory(), "loops": dom0.ok("losetup -a"),
            "store": dom0.ok("xenstore-list /local/domain"), "vms": dom0.run("xenstore-list /vm 2>/dev/null").output,
            "backends": dom0.run("xenstore-ls /local/domain/0/backend 2>/dev/null").output}


def test_missing_kernel(dom0):
    refused_and_clean(dom0, ["/no/such/kernel"], kernel="/no/such/kernel")


def test_truncated_kernel(dom0):
    refused_and_clean(dom0, ["/tmp/half", "truncated", "unpack", "kernel"], KERNEL_HEAD, kernel="/tmp/half")


def test_kernel_that_is_no_kernel(dom0):
    refused_and_clean(dom0, ["/etc/passwd", "kernel"], kernel="/etc/passwd")


def test_more_memory_than_there_is(dom0):
    refused_and_clean(dom0, ["free", "memory"], memory=900000)


@only(tools="domus")
def test_too_little_memory_says_how_much(dom0):
    path = dom0.config("wrong", memory=900000)
    message = dom0.refused(f"domus create {path}")
    found = re.search(r"(\d+) MiB is needed, (\d+) MiB is free", message)
    assert found and 900000 <= int(found[1]) < 901000 and int(found[2]) == dom0.free_memory() // 1024, message


@only(tools="domus")
def test_missing_disk(dom0):
    refused_and_clean(dom0, ["/no/such/disk"], disk=["/no/such/disk,raw,xvda,rw"])


@only(tools="domus")
def test_missing_bridge(dom0):
    refused_and_clean(dom0, ["nobridge"], vif=["bridge=nobridge"])


@only(tools="domus")
def test_second_disk_fails_after_the_first_was_set_up(dom0):
    refused_and_clean(dom0, ["/no/such/disk"], "truncate -s 4M /tmp/good.disk",
                      disk=["/tmp/good.disk,raw,xvda,rw", "/no/such/disk,raw,xvdb,rw"])


def test_bad_mac(dom0):
    refused_and_clean(dom0, ["mac", "MAC", "invalid"], vif=["mac=00:16:3e:00:00,bridge=xenbr0"])


def test_duplicate_name(dom0):
    dom0.guest("wrong")
    domid = dom0.domid("wrong")
    message = dom0.refused(f"{dom0.tool_name} create /tmp/wrong.cfg", 120)
    assert "wrong" in message or "exists" in message, message
    assert dom0.domid("wrong") == domid
    dom0.tool("destroy wrong")
    dom0.wait_gone("wrong")


@only(tools="domus")
def test_disk_in_use(dom0):
    dom0.disk("/tmp/shared.disk", 4)
    dom0.guest("owner", disk=["/tmp/shared.disk,raw,xvda,rw"])
    path = dom0.config("wrong", disk=["/tmp/shared.disk,raw,xvda,rw"])
    message = dom0.refused(f"domus create {path}")
    assert "/tmp/shared.disk" in message and "owner" in message, message
    assert dom0.domains() == ["owner"]
    dom0.tool("destroy owner")
    dom0.wait_gone("owner")


@only(tools="domus")
def test_broken_configuration_names_the_line(dom0):
    dom0.write("/tmp/broken.cfg", 'name = "x"\nmemory = [\n')
    assert "broken.cfg" in dom0.refused("domus create /tmp/broken.cfg")
    assert "broken.cfg" in dom0.refused("domus config-check /tmp/broken.cfg")
    dom0.ok("domus config-check /etc/domus/demo.cfg")


def test_verbs_on_a_guest_that_is_not_there(dom0):
    for verb in ("destroy", "pause", "unpause", "shutdown", "reboot"):
        dom0.refused(f"{dom0.tool_name} {verb} nobody")
