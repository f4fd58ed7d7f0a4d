"""A disk and a card leave our backends and come back, again and again (make test-long): Linux's frontends, taken off their
drivers and put back. DOMUS_RECONNECTS=1000 in the environment for so many; a thousand take most of an hour."""
import os

from harness.runner import long, only

TIMES = int(os.environ.get("DOMUS_RECONNECTS", 150))
IN = "/usr/lib/domus/guest-run {} 20 '{}'"
# Each time another page of the disk has to be the right one, and a packet to come back (the first may be lost).
LOOP = """cat >/tmp/loop <<"end"
again() { echo $1 >/sys/bus/xen/drivers/$2/unbind && echo $1 >/sys/bus/xen/drivers/$2/bind; }
disk() { again vbd-51728 vbd && until [ -b /dev/xvdb ]; do sleep 0.05; done &&
    [ "$(dd if=/dev/xvdb bs=4k skip=$(($1 % 256)) count=1 iflag=direct 2>/dev/null | cut -c -8)" = $(printf %08d $(($1 % 256))) ]; }
card() { again vif-0 vif && until ip link set eth0 up; do sleep 0.05; done &&
    ip addr add 10.9.0.5/24 dev eth0 && answered 10; }
answered() { ping -c 1 -W 2 10.9.0.1 >/dev/null || { [ $1 -gt 1 ] && answered $(($1 - 1)); }; }
i=0
while [ $i -lt $1 ]; do
    disk $i || { echo "the disk failed" >/tmp/failed; break; }
    card || { echo "the card failed" >/tmp/failed; break; }
    i=$((i + 1)); echo $i >/tmp/times
done
touch /tmp/ended
end
sh /tmp/loop TIMES >/dev/null 2>&1 &"""


@long
@only(tools="domus")
def test_a_disk_and_a_card_come_back(dom0):
    dom0.ok("i=0; while [ $i -lt 256 ]; do printf '%08d%4087d\\n' $i 0; i=$((i + 1)); done >/tmp/pages; "
            "[ $(stat -c %s /tmp/pages) = $((256 * 4096)) ]", 60)
    dom0.guest("often", disk=["/tmp/pages,raw,xvdb,r"], vif=["mac=00:16:3e:00:00:55,bridge=xenbr0"])
    dom0.wait_guest("often")
    dom0.until(IN.format("often", "[ -e /dev/xvdb -a -e /sys/class/net/eth0 ]"), 60)
    turn(dom0, 20)  # what is allocated once and kept is there
    before = {daemon: held(dom0, daemon) for daemon in ("domus-blockd", "domus-netd")}
    turn(dom0, TIMES)
    for daemon, (pid, descriptors, kib) in before.items():
        now = held(dom0, daemon)
        assert now[0] == pid, f"{daemon} died"
        assert now[1] == descriptors, f"{daemon} has {now[1]} descriptors, had {descriptors}"
        assert now[2] < kib + 512, f"{daemon} has {now[2]} KiB, had {kib}"
    dom0.tool("destroy often")
    dom0.wait_gone("often")
    assert "vif" not in dom0.ok("ls /sys/class/net/xenbr0/brif"), "an interface is left"
    dom0.ok("rm /tmp/pages")


def turn(dom0, times):
    dom0.in_guest("often", "rm -f /tmp/ended /tmp/times; " + LOOP.replace("TIMES", str(times)))
    reached = 0
    while reached < times:  # each fifty in their own time, so that a hang is found where it is
        reached = min(reached + 50, times)
        dom0.until(IN.format("often", f"[ -e /tmp/ended ] || [ $(cat /tmp/times || echo 0) -ge {reached} ]"), 300)
    dom0.until(IN.format("often", "[ -e /tmp/ended ]"), 60)
    assert dom0.in_guest("often", "cat /tmp/times /tmp/failed 2>/dev/null; true").split() == [str(times)]


def held(dom0, daemon):
    """Its process, open descriptors, and memory of its own in KiB."""
    pid = dom0.ok(f"pidof {daemon}").strip()
    descriptors = int(dom0.ok(f"ls /proc/{pid}/fd | wc -l"))
    return pid, descriptors, int(dom0.ok(f"grep RssAnon /proc/{pid}/status").split()[1])
