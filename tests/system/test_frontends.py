"""Our frontends for Linux (frontend-drivers/linux) in a stock kernel, on the backends of dom0's kernel and on ours:
checksummed data, hot plug under load, backends that are killed or taken away, and reload of the modules.
"""
from harness.runner import long, only

OURS = "domus.frontends=domus"
OUR_BACKEND, LINUX_BACKEND = ",backendtype=domus", ",backendtype=phy"
MAC = "00:16:3e:00:00:07"


def test_two_disks_keep_what_is_written(dom0):
    first, second = dom0.disk("/tmp/fe-a.disk", 24), dom0.disk("/tmp/fe-b.disk", 24)
    dom0.ok("dd if=/dev/urandom of=/tmp/fe-a.disk bs=1M count=8 conv=notrunc 2>/dev/null")
    start(dom0, "disks", disk=[entry(first, "xvda"), entry(second, "xvdb")])
    assert sum_of(dom0, "disks", "/dev/xvda", 0, 8) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 8)
    # Large pieces to one disk and small ones, unbuffered, to the other, at the same time.
    dom0.in_guest("disks", "dd if=/dev/urandom of=/tmp/p bs=1M count=8 2>/dev/null; "
                  "dd if=/tmp/p of=/dev/xvda bs=1M seek=8 conv=fsync 2>/dev/null & "
                  "dd if=/tmp/p of=/dev/xvdb bs=4k count=512 oflag=direct conv=fsync 2>/dev/null && wait", 120)
    assert sum_of(dom0, "disks", "/tmp/p", 0, 8) == dom0_sum(dom0, "/tmp/fe-a.disk", 8, 8), "a flush did not reach the disk"
    assert sum_of(dom0, "disks", "/tmp/p", 0, 2) == dom0_sum(dom0, "/tmp/fe-b.disk", 0, 2)
    dom0.in_guest("disks", "echo 3 >/proc/sys/vm/drop_caches")
    assert sum_of(dom0, "disks", "/tmp/p", 0, 8) == sum_of(dom0, "disks", "/dev/xvda", 8, 8)
    dom0.in_guest("disks", "blkdiscard -o 1048576 -l 1048576 /dev/xvda")
    zeros = dom0.ok("dd if=/dev/zero bs=1M count=1 2>/dev/null | sha256sum").split()[0]
    assert sum_of(dom0, "disks", "/dev/xvda", 1, 1) == zeros
    assert dom0_sum(dom0, "/tmp/fe-a.disk", 1, 1) == zeros
    destroy(dom0, "disks")


def test_network_carries_both_ways_in_large_packets(dom0):
    start(dom0, "card", vif=[card_on_netback(dom0)])
    up(dom0, "card")
    # It has a control ring, for hashing: it refuses to keep pages mapped, and nothing comes of it.
    assert int(dom0.ok(f"xenstore-read /local/domain/{dom0.domid('card')}/device/vif/0/ctrl-ring-ref")) > 0
    dom0.in_guest("card", "dd if=/dev/urandom of=/tmp/p bs=1M count=16 2>/dev/null; cd /tmp; httpd -p 80 -h /tmp")
    dom0.ok("mkdir -p /tmp/web; dd if=/dev/urandom of=/tmp/web/p bs=1M count=16 2>/dev/null; httpd -p 81 -h /tmp/web")
    got = dom0.in_guest("card", "wget -q -O - http://10.9.0.1:81/p | sha256sum", 120).split()[0]
    assert got == dom0_sum(dom0, "/tmp/web/p", 0, 16)
    got = dom0.ok("wget -q -O - http://10.9.0.7/p | sha256sum", 120).split()[0]
    assert got == sum_of(dom0, "card", "/tmp/p", 0, 16)
    for way in ("rx", "tx"):
        packets, size = (int(x) for x in dom0.in_guest(
            "card", f"cd /sys/class/net/eth0/statistics; cat {way}_packets {way}_bytes").split())
        assert size > 16 << 20
        # Half of them are acknowledgements; without segmentation offload the mean would be below 1500.
        assert size / packets > 3000, f"{way}: {size} bytes in {packets} packets: not segmented by the other side"
    assert dom0.in_guest("card", "cat /sys/class/net/eth0/statistics/*_errors | sort -u").strip() == "0"
    dom0.ok("kill $(pidof httpd); rm -rf /tmp/web")
    destroy(dom0, "card")


def test_disks_come_and_go_under_load(dom0):
    first, second = dom0.disk("/tmp/fe-a.disk", 16), dom0.disk("/tmp/fe-b.disk", 8)
    start(dom0, "plug", disk=[entry(first, "xvda")])
    load(dom0, "plug")
    plug(dom0, "plug", entry(second, "xvdb"), times=3)
    stop_load(dom0, "plug")
    destroy(dom0, "plug")


@only(tools="domus")
def test_our_backend_is_killed_under_load(dom0):
    """domus-blkfront on domus-blockd: data, hot plug, and kills; each round of the load reads back what it wrote."""
    first, second = dom0.disk("/tmp/fe-a.disk", 16), dom0.disk("/tmp/fe-b.disk", 8)
    dom0.ok("dd if=/dev/urandom of=/tmp/fe-a.disk bs=1M count=8 conv=notrunc 2>/dev/null")
    start(dom0, "ours", disk=[entry(first, "xvda", OUR_BACKEND)])
    assert "domus-vbd" in dom0.tool("block-list ours --json")
    assert sum_of(dom0, "ours", "/dev/xvda", 0, 8) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 8)
    negotiated(dom0, "ours")
    read_only(dom0, "ours", second)
    load(dom0, "ours")
    grows(dom0, "ours")
    plug(dom0, "ours", entry(second, "xvdb", OUR_BACKEND), times=2)
    kill_backend(dom0, "ours", times=5)
    stop_load(dom0, "ours")
    assert sum_of(dom0, "ours", "/tmp/pattern", 0, 4) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 4)
    destroy(dom0, "ours")


@only(tools="domus")
def test_our_backend_keeps_grants_and_is_killed_under_load(dom0):
    """domus-blkfront on domus-blockd with persistent grants: as above, and what one process kept mapped the next one does."""
    first, second = dom0.disk("/tmp/fe-a.disk", 16), dom0.disk("/tmp/fe-b.disk", 8)
    dom0.ok("dd if=/dev/urandom of=/tmp/fe-a.disk bs=1M count=8 conv=notrunc 2>/dev/null")
    start(dom0, "kept", disk=[entry(first, "xvda", OUR_BACKEND + ",persistent")])
    assert sum_of(dom0, "kept", "/dev/xvda", 0, 8) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 8)
    assert "persistent grants" in dom0.in_guest("kept", "dmesg")
    rings = 4 * 1  # pages of a ring, for one vcpu
    assert dom0.figures("kept", "xvda")["grants"] > rings, "nothing stays mapped"
    load(dom0, "kept")
    plug(dom0, "kept", entry(second, "xvdb", OUR_BACKEND + ",persistent"), times=2)
    kill_backend(dom0, "kept", times=5)
    stop_load(dom0, "kept")
    assert sum_of(dom0, "kept", "/tmp/pattern", 0, 4) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 4)
    dom0.in_guest("kept", "dd if=/dev/xvda of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null", 60)
    assert dom0.figures("kept", "xvda")["grants"] > rings, "the process that came last keeps nothing mapped"
    destroy(dom0, "kept")


@long
@only(tools="domus")
def test_linux_backend_is_taken_away_under_load(dom0):
    """Unbound and bound again: the requests in flight are sent to the backend that comes."""
    # A loop device of our own: one made by domusd goes when nobody has it open, and takes its size with it.
    dom0.ok("truncate -s 16M /tmp/fe-a.disk")
    device = dom0.ok("losetup -f && losetup $(losetup -f) /tmp/fe-a.disk").strip()
    start(dom0, "back", disk=[entry(f"phy:{device}", "xvda")])
    load(dom0, "back")
    for _ in range(5):
        rebind(dom0, "back")
    stop_load(dom0, "back")
    destroy(dom0, "back")
    dom0.ok(f"losetup -d {device}")


@long
@only(tools="domus")
def test_a_queue_for_each_cpu_under_load(dom0):
    """Guests of two and four virtual CPUs write and receive on all of them at once, on both backends. Linux's offer a queue for
    each processor that dom0 has, if they are not told otherwise."""
    limits = "for of in blk net; do echo {} >/sys/module/xen_${{of}}back/parameters/max_queues; done"
    dom0.ok(limits.format(4))
    dom0.ok("mkdir -p /tmp/web; dd if=/dev/urandom of=/tmp/web/p bs=1M count=4 2>/dev/null; httpd -p 81 -h /tmp/web")
    for cpus in (2, 4):
        for backend, card in (OUR_BACKEND, f"mac={MAC},bridge=xenbr0"), (LINUX_BACKEND, card_on_netback(dom0)):
            start(dom0, "many", vcpus=cpus, disk=[entry(dom0.disk("/tmp/fe-a.disk", 24), "xvda", backend)], vif=[card])
            up(dom0, "many")
            queues = dom0.in_guest("many", "ls /sys/block/xvda/mq | wc -l; ls -d /sys/class/net/eth0/queues/tx-* | wc -l")
            assert queues.split() == [str(cpus)] * 2, f"{backend}: {queues}"
            use_all_queues(dom0, "many")
            destroy(dom0, "many")
    dom0.ok("kill $(pidof httpd); rm -rf /tmp/web; " + limits.format("$(nproc)"))


def use_all_queues(dom0, name):
    dom0.in_guest(name, "dd if=/dev/urandom of=/tmp/p bs=1M count=4 2>/dev/null; for i in 0 1 2 3; do "
                  "dd if=/tmp/p of=/dev/xvda bs=16k seek=$((i * 256)) conv=fsync,notrunc 2>/dev/null & "
                  "wget -q -O - http://10.9.0.1:81/p | sha256sum >/tmp/sum-$i & done; wait", 120)
    for i in range(4):
        assert sum_of(dom0, name, "/tmp/p", 0, 4) == dom0_sum(dom0, "/tmp/fe-a.disk", i * 4, 4)
        assert dom0.in_guest(name, f"cat /tmp/sum-{i}").split()[0] == dom0_sum(dom0, "/tmp/web/p", 0, 4)


@long
@only(tools="xen", hypervisor="xen")
def test_a_guest_is_saved_and_restored_under_load(dom0):
    """HYPERVISOR=xen: suspend, and life in a new domain with new backends; the load notices nothing."""
    disk = dom0.disk("/tmp/fe-a.disk", 16)
    start(dom0, "saved", disk=[entry(disk, "xvda")], vif=[card_on_netback(dom0)])
    up(dom0, "saved")
    load(dom0, "saved")
    for _ in range(2):
        old = dom0.domid("saved")
        dom0.tool("save saved /tmp/saved", 300)
        dom0.wait_gone("saved")
        dom0.tool("restore /tmp/saved", 300)
        dom0.ok("rm /tmp/saved")
        dom0.wait_guest("saved")
        assert dom0.domid("saved") != old
        dom0.until("/usr/lib/domus/guest-run saved 20 'ping -c 1 -W 2 10.9.0.1'", 120)
        answers(dom0, "saved")
    stop_load(dom0, "saved")
    assert sum_of(dom0, "saved", "/tmp/pattern", 0, 4) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 4)
    destroy(dom0, "saved")


def test_a_disk_in_use_goes_when_its_last_user_is_gone(dom0):
    first, second = dom0.disk("/tmp/fe-a.disk", 16), dom0.disk("/tmp/fe-b.disk", 8)
    start(dom0, "busy", disk=[entry(first, "xvda"), entry(second, "xvdb")])
    dom0.in_guest("busy", "sleep 1000 </dev/xvdb & echo $! >/tmp/user; sleep 1")
    # Not a child of the shell: it would say that it is done in the middle of reading the next command, and lose the rest.
    dom0.ok(f"({dom0.tool_name} block-detach busy xvdb >/tmp/detach 2>&1 &)\nsleep 3")
    dom0.in_guest("busy", "[ -e /dev/xvdb ] && dd if=/dev/xvdb of=/dev/null bs=64k count=1 2>/dev/null")
    dom0.in_guest("busy", "kill $(cat /tmp/user)")
    dom0.until("/usr/lib/domus/guest-run busy 60 '[ ! -e /dev/xvdb ]'", 240)
    destroy(dom0, "busy")


def test_modules_can_be_loaded_again(dom0):
    disk = dom0.disk("/tmp/fe-a.disk", 16)
    dom0.ok("dd if=/dev/urandom of=/tmp/fe-a.disk bs=1M count=4 conv=notrunc 2>/dev/null")
    start(dom0, "reload", disk=[entry(disk, "xvda")], vif=[card_on_netback(dom0)])
    for _ in range(2):
        up(dom0, "reload")
        assert sum_of(dom0, "reload", "/dev/xvda", 0, 4) == dom0_sum(dom0, "/tmp/fe-a.disk", 0, 4)
        dom0.in_guest("reload", "echo vif-0 >/sys/bus/xen/drivers/vif/unbind; "
                      "echo vbd-51712 >/sys/bus/xen/drivers/vbd/unbind; rmmod domus_netfront domus_blkfront; "
                      "[ ! -e /dev/xvda ] && [ ! -e /sys/class/net/eth0 ]")
        dom0.in_guest("reload", "cd /lib/domus/modules; insmod domus-blkfront.ko; insmod domus-netfront.ko")
        dom0.until("/usr/lib/domus/guest-run reload 20 '[ -e /dev/xvda ] && [ -e /sys/class/net/eth0 ]'", 60)
    destroy(dom0, "reload")


def plug(dom0, name, disk, times):
    for _ in range(times):
        dom0.tool(f"block-attach {name} {disk}")
        dom0.until(f"/usr/lib/domus/guest-run {name} 60 '[ -e /dev/xvdb ]'", 240)
        dom0.in_guest(name, "dd if=/dev/xvdb of=/dev/null bs=64k 2>/dev/null")
        dom0.tool(f"block-detach {name} xvdb")
        dom0.until(f"/usr/lib/domus/guest-run {name} 60 '[ ! -e /dev/xvdb ]'", 240)


def negotiated(dom0, name):
    """What domus-blockd offers is used: a ring of four pages, indirect requests, discard, flush."""
    assert dom0.ok(f"xenstore-read /local/domain/{dom0.domid(name)}/device/vbd/51712/ring-page-order").strip() == "2"
    limits = dom0.in_guest(name, "cd /sys/block/xvda/queue; cat max_segments write_cache physical_block_size; "
                           "[ $(cat discard_max_bytes) -gt 0 ] && echo discard").split("\n")
    assert limits[:2] == ["32", "write back"] and int(limits[2]) >= 512 and limits[3] == "discard", limits


def read_only(dom0, name, disk):
    """A disk that may be read: it says so, its data is there, and a write is refused."""
    dom0.ok(f"dd if=/dev/urandom of={disk} bs=1M count=1 conv=notrunc 2>/dev/null")
    dom0.tool(f"block-attach {name} {disk},raw,xvdb,r{OUR_BACKEND}")
    dom0.until(f"/usr/lib/domus/guest-run {name} 60 '[ -e /dev/xvdb ]'", 240)
    assert sum_of(dom0, name, "/dev/xvdb", 0, 1) == dom0_sum(dom0, disk, 0, 1)
    dom0.in_guest(name, "[ $(cat /sys/block/xvdb/ro) = 1 ] && ! dd if=/dev/zero of=/dev/xvdb bs=512 count=1 2>/dev/null")
    dom0.tool(f"block-detach {name} xvdb")
    dom0.until(f"/usr/lib/domus/guest-run {name} 60 '[ ! -e /dev/xvdb ]'", 240)


def grows(dom0, name):
    """The image grows while it is written to; the guest sees the new size and can use it."""
    dom0.ok("truncate -s 20M /tmp/fe-a.disk")
    dom0.tool(f"block-resize {name} xvda")
    dom0.until(f"/usr/lib/domus/guest-run {name} 60 '[ $(cat /sys/block/xvda/size) = {20 * 2048} ]'", 240)
    dom0.in_guest(name, "dd if=/tmp/pattern of=/dev/xvda bs=256k seek=76 count=4 conv=fsync,notrunc 2>/dev/null", 120)


def kill_backend(dom0, name, times):
    """kill -9, and each time the disk has to answer a request that came after."""
    for _ in range(times):
        old = dom0.ok("pidof domus-blockd").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof domus-blockd) && [ $p != {old} ]", 60)
        answers(dom0, name)


def rebind(dom0, name):
    """Takes Linux's block backend off the guest's disk, and puts it back."""
    device = f"vbd-{dom0.domid(name)}-51712"
    dom0.ok(f"cd /sys/bus/xen-backend/drivers/vbd; echo {device} >unbind; sleep 1; echo {device} >bind")
    answers(dom0, name)


def answers(dom0, name):
    dom0.in_guest(name, "[ $(dd if=/dev/xvda bs=4k count=1 skip=3000 iflag=direct 2>/dev/null | wc -c) = 4096 ]", 90)


def load(dom0, name):
    """A writer that never stops, writes what only it can know, and reads all of it back each round."""
    dom0.in_guest(name, """cat >/tmp/load <<'end'
round=0
while [ ! -e /tmp/stop ]; do
    yes $round | dd of=/tmp/pattern bs=4k count=1024 iflag=fullblock 2>/dev/null
    dd if=/tmp/pattern of=/dev/xvda bs=256k conv=fsync,notrunc 2>/dev/null || echo "round $round: write"
    dd if=/dev/xvda bs=256k count=16 iflag=direct 2>/dev/null | cmp - /tmp/pattern || echo "round $round: differs"
    round=$((round + 1))
done >/tmp/bad 2>&1
echo $round >/tmp/rounds
end
rm -f /tmp/stop; sh /tmp/load >/dev/null 2>&1 &""".replace("'", "'\\''"))


def stop_load(dom0, name):
    dom0.in_guest(name, "touch /tmp/stop; n=0; until [ -e /tmp/rounds ]; do sleep 1; n=$((n+1)); [ $n -lt 60 ] || exit 1; done",
                  90)
    bad = dom0.in_guest(name, "cat /tmp/bad")
    assert not bad.strip(), f"the load found wrong data or an error: {bad}"
    assert int(dom0.in_guest(name, "cat /tmp/rounds")) > 0


def start(dom0, name, **keys):
    dom0.guest(name, OURS, **keys)
    dom0.wait_guest(name)
    loaded = dom0.in_guest(name, "cut -d' ' -f1 /proc/modules".replace("'", "'\\''"))
    assert "domus_blkfront" in loaded and "xen_blkfront" not in loaded, loaded
    for disk in keys.get("disk", []):
        dom0.until(f"/usr/lib/domus/guest-run {name} 20 '[ -e /dev/{device_of(disk)} ]'", 60)


def up(dom0, name):
    dom0.until(f"/usr/lib/domus/guest-run {name} 20 '[ -e /sys/class/net/eth0 ]'", 60)
    dom0.in_guest(name, "ip link set eth0 up; ip addr add 10.9.0.7/24 dev eth0")
    dom0.until(f"/usr/lib/domus/guest-run {name} 20 'ping -c 1 -W 2 10.9.0.1'", 60)


def entry(disk, device, backend=LINUX_BACKEND):
    return f"{disk},{device},w{backend}" if disk.startswith("phy:") else f"{disk},raw,{device},rw{backend}"


def card_on_netback(dom0):
    """A vif on dom0's kernel; xl knows no other."""
    return f"mac={MAC},bridge=xenbr0" + (",backendtype=linux" if dom0.tool_name == "domus" else "")


def device_of(disk):
    return next(part for part in disk.split(",") if part.startswith("xvd"))


def sum_of(dom0, name, path, skip, count):
    return dom0.in_guest(name, f"dd if={path} bs=1M skip={skip} count={count} 2>/dev/null | sha256sum", 120).split()[0]


def dom0_sum(dom0, path, skip, count):
    return dom0.ok(f"dd if={path} bs=1M skip={skip} count={count} 2>/dev/null | sha256sum", 120).split()[0]


def destroy(dom0, name):
    dom0.tool(f"destroy {name}")
    dom0.wait_gone(name)
    dom0.ok("rm -f /tmp/fe-?.disk")
