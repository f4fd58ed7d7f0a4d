"""Frontends leave our daemons and come back, again and again, a thousand times each in `make test-long`: Linux's netfront
and both of ours are taken off their driver in the guest and put back, the disk of Linux's blkfront is plugged in and out.
Each time a packet has to come back or the disk to hold what is on it; the daemons may not grow.

Linux's blkfront is not taken off: it says Closed then, and never begins anew by itself, whichever the backend."""
from harness.runner import long, only

IN = "/usr/lib/domus/guest-run {} 20 '{}'"
PATTERN = "head -c 65536 /dev/{} | sha256sum | grep -q {}"
# Linux's netfront loses its 256 receive buffers each time it is taken off, with any backend: a new guest after so many.
TURNS = 250
STOCK_MEMORY = 192 + TURNS * 9 // 8
# A name may still be there, or not yet, when it is looked for: what matters is that all answers in the end.
LOOP = """cat >/tmp/loop <<"end"
off_and_on() { echo $2 >/sys/bus/xen/drivers/$1/unbind && echo $2 >/sys/bus/xen/drivers/$1/bind; }
tried() { for t in $(seq 200); do "$@" && return; sleep 0.05; done; echo "$@ did not succeed"; false; }
packet() { ping -c 1 -W 2 10.9.0.1; }
content() { CONTENT; }
card() { off_and_on vif vif-0 && tried ip link set eth0 up && ip addr add 10.9.0.5/24 dev eth0 && tried packet; }
disk() { off_and_on vbd vbd-51712 && tried content; }
i=0
while [ $i -lt TIMES ]; do DEVICES || break; i=$((i + 1)); echo $i >/tmp/times; done
touch /tmp/ended
end
rm -f /tmp/ended; echo 0 >/tmp/times; sh /tmp/loop >/tmp/log 2>&1 &"""


@only(tools="domus")
def test_a_stock_card_comes_back(dom0):
    stock_card(dom0, 1, 20)


@only(tools="domus")
def test_a_stock_disk_comes_back(dom0):
    stock_disk(dom0, 10)


@only(tools="domus")
def test_our_frontends_come_back(dom0):
    our_frontends(dom0, 20)


@long
@only(tools="domus")
def test_a_stock_card_comes_back_a_thousand_times(dom0):
    stock_card(dom0, 1000 // TURNS, TURNS)


@long
@only(tools="domus")
def test_a_stock_disk_comes_back_a_thousand_times(dom0):
    stock_disk(dom0, 1000)


@long
@only(tools="domus")
def test_our_frontends_come_back_a_thousand_times(dom0):
    our_frontends(dom0, 1000)


def stock_card(dom0, guests, times):
    before = None
    for _ in range(guests):
        guest(dom0, memory=STOCK_MEMORY)
        take_turns(dom0, "card", 10)  # what the daemons allocate once and keep is there
        before = before or held(dom0)
        take_turns(dom0, "card", times)
        as_before(dom0, before)
        gone(dom0)


def our_frontends(dom0, times):
    total = disk(dom0)
    guest(dom0, "domus.frontends=domus", disk=["/tmp/often.disk,raw,xvda,rw"])
    take_turns(dom0, "card && disk", 10, total)
    before = held(dom0)
    free = free_in_guest(dom0)
    take_turns(dom0, "card && disk", times, total)
    as_before(dom0, before)
    lost = free - free_in_guest(dom0)
    assert lost < 4096 + 4 * times, f"the guest lost {lost} KiB"
    gone(dom0)


def stock_disk(dom0, times):
    total = disk(dom0)
    guest(dom0)
    before = None
    for turn in range(times + 10):
        dom0.tool("block-attach often /tmp/often.disk,raw,xvdb,rw")
        dom0.until(IN.format("often", PATTERN.format("xvdb", total)), 60)
        dom0.tool("block-detach often xvdb")
        before = held(dom0) if turn == 9 else before
    as_before(dom0, before)
    gone(dom0)


def guest(dom0, options="", **keys):
    dom0.guest("often", options, vif=["mac=00:16:3e:00:00:55,bridge=xenbr0"], **keys)
    dom0.wait_guest("often")


def gone(dom0):
    dom0.tool("destroy often")
    dom0.wait_gone("often")
    assert "vif" not in dom0.ok("ls /sys/class/net/xenbr0/brif"), "an interface is left"
    dom0.ok("rm -f /tmp/often.disk")


def disk(dom0):
    """Makes it; returns the sum of its beginning."""
    dom0.disk("/tmp/often.disk", 16)
    dom0.ok("dd if=/dev/urandom of=/tmp/often.disk bs=64k count=1 conv=notrunc 2>/dev/null")
    return dom0.ok("head -c 65536 /tmp/often.disk | sha256sum").split()[0]


def take_turns(dom0, devices, times, total=""):
    loop = LOOP.replace("DEVICES", devices).replace("TIMES", str(times)).replace("CONTENT", PATTERN.format("xvda", total))
    dom0.in_guest("often", loop)
    for reached in range(50, times + 50, 50):  # each fifty in their own time, so that a hang is found where it is
        dom0.until(IN.format("often", f"[ -e /tmp/ended ] || [ $(cat /tmp/times) -ge {reached} ]"), 300)
    done = dom0.in_guest("often", "cat /tmp/times").strip()
    assert done == str(times), f"{done} of {times}:\n" + dom0.in_guest("often", "tail -5 /tmp/log")


def free_in_guest(dom0):
    """KiB."""
    return int(dom0.in_guest("often", "sed -n \"s/MemAvailable: *//p\" /proc/meminfo").split()[0])


def as_before(dom0, before):
    now = held(dom0)
    for daemon, (pid, descriptors, kib) in before.items():
        assert now[daemon][0] == pid, f"{daemon} died"
        assert now[daemon][1] == descriptors, f"{daemon} has {now[daemon][1]} descriptors, had {descriptors}"
        assert now[daemon][2] < kib + 1024, f"{daemon} has {now[daemon][2]} KiB, had {kib}"


def held(dom0):
    """Of each daemon: process, open descriptors, and memory of its own in KiB."""
    return {daemon: of_daemon(dom0, daemon) for daemon in ("domus-netd", "domus-blockd", "domus-xenstored")}


def of_daemon(dom0, daemon):
    pid = dom0.ok(f"pidof {daemon}").strip()
    descriptors = int(dom0.ok(f"ls /proc/{pid}/fd | wc -l"))
    return pid, descriptors, int(dom0.ok(f"grep RssAnon /proc/{pid}/status").split()[1])
