"""Linux's blkfront on domus-blockd: data both ways, a disk that grows, a full medium, unplugging, the daemon killed under load."""
from harness.runner import only


@only(tools="domus")
def test_data_and_a_full_medium(dom0):
    """What is written and flushed is in the image; what the medium refuses is the guest's error."""
    image(dom0, "/tmp/block.img", 24)
    dom0.guest("blk", disk=["/tmp/block.img,raw,xvda,rw,backendtype=domus"])
    dom0.wait_guest("blk")
    dom0.until("/usr/lib/domus/guest-run blk 10 '[ -e /dev/xvda ]'", 60)
    assert "domus-vbd" in dom0.tool("block-list blk --json")
    read = dom0.in_guest("blk", "dd if=/dev/xvda bs=1M count=8 2>/dev/null | sha256sum").split()[0]
    assert read == checksum(dom0, "/tmp/block.img", 0, 8)
    dom0.in_guest("blk", "dd if=/dev/urandom of=/tmp/r bs=1M count=8 2>/dev/null; "
                         "dd if=/tmp/r of=/dev/xvda bs=1M seek=8 conv=fsync 2>/dev/null")
    assert dom0.in_guest("blk", "sha256sum </tmp/r").split()[0] == checksum(dom0, "/tmp/block.img", 8, 8)

    dom0.ok("truncate -s 40M /tmp/block.img")
    dom0.tool("block-resize blk xvda")
    dom0.until("/usr/lib/domus/guest-run blk 10 '[ $(cat /sys/block/xvda/size) = 81920 ]'", 60)
    dom0.in_guest("blk", "dd if=/tmp/r of=/dev/xvda bs=1M seek=32 conv=fsync 2>/dev/null")
    assert dom0.in_guest("blk", "sha256sum </tmp/r").split()[0] == checksum(dom0, "/tmp/block.img", 32, 8)

    dom0.ok("mkdir -p /tmp/small; mount -t tmpfs -o size=2m none /tmp/small; truncate -s 8M /tmp/small/img")
    dom0.tool("block-attach blk /tmp/small/img,raw,xvdb,rw,backendtype=domus")
    dom0.until("/usr/lib/domus/guest-run blk 10 '[ -e /dev/xvdb ]'", 60)
    dom0.in_guest("blk", "! dd if=/dev/zero of=/dev/xvdb bs=1M count=8 conv=fsync 2>/dev/null", 60)
    dom0.tool("block-detach blk xvdb")
    dom0.until("umount /tmp/small", 30)
    destroy(dom0, "blk")


@only(tools="domus")
def test_killed_under_load(dom0):
    """Nothing is lost and nothing is doubled: the image is what the guest wrote."""
    image(dom0, "/tmp/block.img", 48)
    dom0.guest("bk", disk=["/tmp/block.img,raw,xvda,rw,backendtype=domus"])
    dom0.wait_guest("bk")
    dom0.until("/usr/lib/domus/guest-run bk 10 '[ -e /dev/xvda ]'", 60)
    dom0.in_guest("bk", "dd if=/dev/urandom of=/tmp/r bs=1M count=16 2>/dev/null; "
                        "(for i in 0 16 32; do dd if=/tmp/r of=/dev/xvda bs=64k seek=${i}0 conv=fsync || touch /tmp/bad; "
                        "done; touch /tmp/done) >/dev/null 2>&1 &")
    for _ in range(5):
        old = dom0.ok("pidof domus-blockd").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof domus-blockd) && [ $p != {old} ]", 60)
        dom0.in_guest("bk", "dd if=/dev/xvda of=/dev/null bs=4k count=1 skip=12000 iflag=direct 2>/dev/null", 60)
    dom0.until("/usr/lib/domus/guest-run bk 10 '[ -e /tmp/done ]'", 120)
    dom0.in_guest("bk", "[ ! -e /tmp/bad ]")
    expected = dom0.in_guest("bk", "sha256sum </tmp/r").split()[0]
    whole = "dd if=/tmp/block.img bs=64k skip={} count=256 2>/dev/null | sha256sum"
    assert dom0.ok(whole.format(320)).split()[0] == expected
    destroy(dom0, "bk")


@only(tools="domus")
def test_persistent_grants(dom0):
    """Linux's blkfront keeps its grants, and so does the backend: data both ways, the daemon killed under load."""
    image(dom0, "/tmp/block.img", 48)
    dom0.guest("pg", disk=["/tmp/block.img,raw,xvda,rw,persistent"])
    dom0.wait_guest("pg")
    dom0.until("/usr/lib/domus/guest-run pg 10 '[ -e /dev/xvda ]'", 60)
    read = dom0.in_guest("pg", "dd if=/dev/xvda bs=1M count=8 2>/dev/null | sha256sum", 60).split()[0]
    assert read == checksum(dom0, "/tmp/block.img", 0, 8)
    assert dom0.figures("pg", "xvda")["grants"] > 11, "nothing stays mapped"
    dom0.in_guest("pg", "dd if=/dev/urandom of=/tmp/r bs=1M count=16 2>/dev/null; "
                        "(for i in 0 16 32; do dd if=/tmp/r of=/dev/xvda bs=64k seek=${i}0 conv=fsync || touch /tmp/bad; "
                        "done; touch /tmp/done) >/dev/null 2>&1 &")
    for _ in range(2):
        old = dom0.ok("pidof domus-blockd").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof domus-blockd) && [ $p != {old} ]", 60)
        dom0.in_guest("pg", "dd if=/dev/xvda of=/dev/null bs=4k count=1 skip=12000 iflag=direct 2>/dev/null", 60)
    dom0.until("/usr/lib/domus/guest-run pg 10 '[ -e /tmp/done ]'", 120)
    dom0.in_guest("pg", "[ ! -e /tmp/bad ]")
    expected = dom0.in_guest("pg", "sha256sum </tmp/r").split()[0]
    assert dom0.ok("dd if=/tmp/block.img bs=64k skip=320 count=256 2>/dev/null | sha256sum").split()[0] == expected
    dom0.in_guest("pg", "dd if=/dev/xvda of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null", 60)
    assert dom0.figures("pg", "xvda")["grants"] > 11, "the process that came last keeps nothing mapped"
    destroy(dom0, "pg")


@only(tools="domus")
def test_daemons_have_no_rights_left(dom0):
    """Each thread of them: a user of its own and no other group, no capabilities (netd: network interfaces only), none
    that comes back, a filter."""
    dom0.ok("domus-blockd --threads --figures /tmp/figures --journals /tmp/journals >/tmp/threads.log 2>&1 & echo $! >/tmp/pid; "
            "end=0; until grep -q serving /tmp/threads.log || [ $end = 60 ]; do sleep 1; end=$((end + 1)); done; "
            "cat /tmp/threads.log; grep -q serving /tmp/threads.log", 120)
    second = dom0.ok("cat /tmp/pid").strip()
    assert len(dom0.ok(f"ls /proc/{second}/task").split()) > 4, "no threads were started"
    for who, user, rights in (("domus-blockd", "domus-blockd", 0), ("domus-blockd-opener", "root", 0), ("domus-consoled", "domus-consoled", 0),
                              ("domus-netd", "domus-netd", 1 << 12)):
        uid, gid = (dom0.ok(f"id {what} {user}").strip() for what in ("-u", "-g"))
        assert user == "root" or uid != "0"
        expected = {"CapEff": [f"{rights:016x}"], "CapPrm": [f"{rights:016x}"], "NoNewPrivs": ["1"], "Seccomp": ["2"],
                    "Uid": [uid] * 4, "Gid": [gid] * 4, "Groups": []}
        pids = dom0.ok(f"pidof {who}").split()
        assert len(pids) == (2 if "blockd" in who else 1), (who, pids)
        for pid in pids:
            for task in dom0.ok(f"ls /proc/{pid}/task").split():
                lines = dom0.ok(f"cat /proc/{pid}/task/{task}/status").splitlines()
                said = {name: words.split() for name, _, words in (line.partition(":") for line in lines)}
                assert {name: said[name] for name in expected} == expected, (who, task, said)
    dom0.ok(f"kill {second}; rm -rf /tmp/figures /tmp/journals")
    dom0.until("[ $(pidof domus-blockd-opener | wc -w) = 1 ]", 20)


@only(tools="domus")
def test_opener_killed(dom0):
    """Media cannot be opened without it: both end, and both are started again. Neither outlives the other."""
    image(dom0, "/tmp/block.img", 8)
    dom0.guest("op", disk=["/tmp/block.img,raw,xvda,rw,backendtype=domus"])
    dom0.wait_guest("op")
    dom0.until("/usr/lib/domus/guest-run op 10 '[ -e /dev/xvda ]'", 60)
    for victim in ("domus-blockd-opener", "domus-blockd"):
        old = set(dom0.ok("pidof domus-blockd domus-blockd-opener").split())
        dom0.ok(f"kill -9 $(pidof {victim})")
        dom0.until("[ $(pidof domus-blockd domus-blockd-opener | wc -w) = 2 ] && "
                   f"! echo ' '$(pidof domus-blockd domus-blockd-opener)' ' | grep -qE ' ({'|'.join(old)}) '", 60)
        read = dom0.in_guest("op", "dd if=/dev/xvda bs=1M count=8 iflag=direct 2>/dev/null | sha256sum", 60).split()[0]
        assert read == checksum(dom0, "/tmp/block.img", 0, 8)
    # What root only may open still comes to the guest, and for reading only where it is said so.
    dom0.ok("dd if=/dev/urandom of=/tmp/secret.img bs=1M count=4 2>/dev/null; chmod 600 /tmp/secret.img")
    before = checksum(dom0, "/tmp/secret.img", 0, 4)
    dom0.tool("block-attach op /tmp/secret.img,raw,xvdb,ro,backendtype=domus")
    dom0.until("/usr/lib/domus/guest-run op 10 '[ -e /dev/xvdb ]'", 60)
    assert dom0.in_guest("op", "sha256sum </dev/xvdb", 60).split()[0] == before
    worker = dom0.ok("pidof domus-blockd").strip()
    flags = dom0.ok(f"for f in /proc/{worker}/fd/*; do [ $(readlink $f) = /tmp/secret.img ] && "
                    f"grep flags /proc/{worker}/fdinfo/${{f##*/}}; done; true").split()
    assert len(flags) == 2 and int(flags[1], 8) & 3 == 0, flags
    dom0.tool("block-detach op xvdb")
    destroy(dom0, "op")


@only(tools="domus")
def test_the_stores_socket_knows_its_users(dom0):
    """A daemon's user reads the store and cannot change what the toolstack says; anybody else is turned away."""
    dom0.ok("xenstore-write /local/domain/0/mark before")
    as_user = "su -s /bin/sh {} -c '{}'"
    assert dom0.ok(as_user.format("domus-netd", "xenstore-read /local/domain/0/mark")).strip() == "before"
    for path in ("/local/domain/0/mark", "/local/domain/0/backend/domus-vbd/9/51712/params",
                 "/local/domain/0/backend/domus-vif/9/0/bridge"):
        dom0.refused(as_user.format("domus-netd", f"xenstore-write {path} after"))
    dom0.refused(as_user.format("nobody", "xenstore-read /local/domain/0/mark"))
    assert dom0.ok("xenstore-read /local/domain/0/mark").strip() == "before"
    dom0.ok("xenstore-rm /local/domain/0/mark")


@only(tools="domus")
def test_a_daemon_without_its_user_says_what_to_do(dom0):
    for program in ("domus-netd", "domus-consoled", "domus-blockd"):
        folders = "--socket /tmp/c.sock --log-dir" if program == "domus-consoled" else "--figures"
        said = dom0.refused(f"{program} --user domus-nobody {folders} /tmp/no-user 2>&1")
        assert "there is no user domus-nobody" in said and "adduser" in said, said


def image(dom0, path, mib):
    dom0.ok(f"truncate -s {mib}M {path}; dd if=/dev/urandom of={path} bs=1M count=8 conv=notrunc 2>/dev/null")


def checksum(dom0, path, skip, count):
    return dom0.ok(f"dd if={path} bs=1M skip={skip} count={count} 2>/dev/null | sha256sum").split()[0]


def destroy(dom0, name):
    dom0.tool(f"destroy {name}")
    dom0.wait_gone(name)
    dom0.ok("rm -f /tmp/block.img")
