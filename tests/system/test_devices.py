"""Disks and network cards at run time, and memory: attach, use, detach, balloon."""


def test_block_attach_use_detach(dom0):
    dom0.guest("blk")
    dom0.wait_guest("blk")
    disk = dom0.disk("/tmp/extra.disk", 8)
    dom0.ok("dd if=/dev/urandom of=/tmp/extra.disk bs=1M count=1 conv=notrunc 2>/dev/null")
    expected = dom0.ok("dd if=/tmp/extra.disk bs=1M count=1 2>/dev/null | sha256sum").split()[0]
    attach(dom0, "blk", disk)
    dom0.until("/usr/lib/domus/guest-run blk 10 '[ -e /dev/xvdb ]'", 60)
    assert dom0.in_guest("blk", "dd if=/dev/xvdb bs=1M count=1 2>/dev/null | sha256sum").split()[0] == expected
    assert dom0.in_guest("blk", "cat /sys/block/xvdb/size").strip() == str(8 * 2048)
    assert "51728" in dom0.tool("block-list blk")  # xvdb's number
    dom0.tool("block-detach blk xvdb")
    dom0.until("/usr/lib/domus/guest-run blk 10 '[ ! -e /dev/xvdb ]'", 60)
    destroy(dom0, "blk")
    if dom0.tool_name == "domus":
        assert "extra.disk" not in dom0.ok("losetup -a"), "a loop device is left"


def test_a_read_only_disk_is_read_only(dom0):
    disk = dom0.disk("/tmp/ro.disk", 4)
    path = disk if disk.startswith("phy:") else f"{disk},raw"
    dom0.guest("ro", disk=[f"{path},xvda,r"])
    dom0.wait_guest("ro")
    dom0.until("/usr/lib/domus/guest-run ro 10 '[ -e /dev/xvda ]'", 60)
    assert dom0.in_guest("ro", "cat /sys/block/xvda/ro").strip() == "1"
    dom0.in_guest("ro", "! dd if=/dev/zero of=/dev/xvda bs=512 count=1 2>/dev/null")
    destroy(dom0, "ro")


def test_network_attach_use_detach(dom0):
    dom0.guest("nic")
    dom0.wait_guest("nic")
    dom0.tool("network-attach nic mac=00:16:3e:00:00:77 bridge=xenbr0")
    dom0.until("/usr/lib/domus/guest-run nic 10 '[ -e /sys/class/net/eth0 ]'", 60)
    assert "00:16:3e:00:00:77" in dom0.in_guest("nic", "cat /sys/class/net/eth0/address")
    dom0.in_guest("nic", "ip link set eth0 up; ip addr add 10.9.0.5/24 dev eth0; sleep 2; ping -c 3 -W 5 10.9.0.1", 60)
    assert "00:16:3e:00:00:77" in dom0.tool("network-list nic")
    dom0.tool("network-detach nic 0")
    dom0.until("/usr/lib/domus/guest-run nic 10 '[ ! -e /sys/class/net/eth0 ]'", 60)
    destroy(dom0, "nic")


def test_ballooning_gives_memory_back_and_takes_it_again(dom0):
    dom0.guest("balloon", memory=256)
    dom0.wait_guest("balloon")
    full = total(dom0)
    free = dom0.free_memory()
    dom0.tool("mem-set balloon 192")
    dom0.until("[ $(/usr/lib/domus/guest-run balloon 10 \"sed -n 's/MemTotal: *//p' /proc/meminfo\" | cut -d' ' -f1) -le "
               f"{full - 60 * 1024} ]", 60)
    assert dom0.free_memory() > free, "the guest's memory shrank, the machine's free memory did not grow"
    dom0.tool("mem-set balloon 256")
    dom0.until("[ $(/usr/lib/domus/guest-run balloon 10 \"sed -n 's/MemTotal: *//p' /proc/meminfo\" | cut -d' ' -f1) -ge "
               f"{full - 1024} ]", 60)
    destroy(dom0, "balloon")


def total(dom0):
    """The guest's memory in KiB as its kernel counts it."""
    return int(dom0.in_guest("balloon", "grep MemTotal /proc/meminfo").split()[1])


def attach(dom0, name, disk):
    """By Linux's backend, which needs a loop device for a file; what is the default the other tests use."""
    if disk.startswith("phy:"):
        dom0.tool(f"block-attach {name} {disk},xvdb,w")
    else:
        dom0.tool(f"block-attach {name} {disk},raw,xvdb,rw,backendtype=linux")


def destroy(dom0, name):
    dom0.tool(f"destroy {name}")
    dom0.wait_gone(name)
