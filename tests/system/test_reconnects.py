"""A card leaves domus-netd and comes back, again and again (make test-long): Linux's netfront, taken off its driver and put
back. DOMUS_RECONNECTS=1000 in the environment for so many."""
import os

from harness.runner import long, only

TIMES = int(os.environ.get("DOMUS_RECONNECTS", 300))
MEMORY = 192 + TIMES + TIMES // 8  # Linux's netfront loses its 256 buffers each time it is taken off, with any backend
IN = "/usr/lib/domus/guest-run {} 20 '{}'"
# A packet has to come back each time; the first may be lost.
LOOP = """cat >/tmp/loop <<"end"
card() { echo vif-0 >/sys/bus/xen/drivers/vif/unbind && echo vif-0 >/sys/bus/xen/drivers/vif/bind &&
    until ip link set eth0 up; do sleep 0.05; done && ip addr add 10.9.0.5/24 dev eth0 && answered 10; }
answered() { ping -c 1 -W 2 10.9.0.1 >/dev/null || { [ $1 -gt 1 ] && answered $(($1 - 1)); }; }
i=0
while [ $i -lt $1 ] && card; do i=$((i + 1)); echo $i >/tmp/times; done
touch /tmp/ended
end
sh /tmp/loop TIMES >/dev/null 2>&1 &"""


@long
@only(tools="domus")
def test_a_card_comes_back(dom0):
    dom0.guest("often", memory=MEMORY, vif=["mac=00:16:3e:00:00:55,bridge=xenbr0"])
    dom0.wait_guest("often")
    dom0.until(IN.format("often", "[ -e /sys/class/net/eth0 ]"), 60)
    turn(dom0, 20)  # what is allocated once and kept is there
    pid, descriptors, kib = held(dom0)
    turn(dom0, TIMES)
    now = held(dom0)
    assert now[0] == pid, "domus-netd died"
    assert now[1] == descriptors, f"domus-netd has {now[1]} descriptors, had {descriptors}"
    assert now[2] < kib + 512, f"domus-netd has {now[2]} KiB, had {kib}"
    dom0.tool("destroy often")
    dom0.wait_gone("often")
    assert "vif" not in dom0.ok("ls /sys/class/net/xenbr0/brif"), "an interface is left"


def turn(dom0, times):
    dom0.in_guest("often", "rm -f /tmp/ended; echo 0 >/tmp/times; " + LOOP.replace("TIMES", str(times)))
    for reached in range(50, times + 50, 50):  # each fifty in their own time, so that a hang is found where it is
        dom0.until(IN.format("often", f"[ -e /tmp/ended ] || [ $(cat /tmp/times) -ge {reached} ]"), 180)
    assert dom0.in_guest("often", "cat /tmp/times").split() == [str(times)]


def held(dom0):
    """Its process, open descriptors, and memory of its own in KiB."""
    pid = dom0.ok("pidof domus-netd").strip()
    descriptors = int(dom0.ok(f"ls /proc/{pid}/fd | wc -l"))
    return pid, descriptors, int(dom0.ok(f"grep RssAnon /proc/{pid}/status").split()[1])
