"""Linux's netfront on domus-netd: packets both ways, cards plugged in and out, the daemon killed during transfers."""
import json

from harness.runner import long, only

MAC = "00:16:3e:00:00:55"
OURS = "domus.frontends=domus"
ADDRESS = "10.9.0.5"


@only(tools="domus")
def test_ping_and_tcp_both_ways(dom0):
    guest(dom0, "net", vcpus=2)
    front = f"/local/domain/{dom0.domid('net')}/device/vif/0"
    assert dom0.ok(f"xenstore-read {front}/multi-queue-num-queues").strip() == "2"
    assert "vif" in dom0.ok("ls /sys/class/net/xenbr0/brif")
    rights = dom0.ok("grep CapEff /proc/$(pidof domus-netd)/status").split()[1]
    assert int(rights, 16) == 1 << 12, "more rights than CAP_NET_ADMIN"
    assert dom0.ok("grep Seccomp: /proc/$(pidof domus-netd)/status").split()[1] == "2", "system calls are not filtered"
    rings = dom0.ok("ls -l /proc/$(pidof domus-netd)/fd").count("[io_uring]")
    assert rings == 2, f"{rings} queues write their packets in batches"
    dom0.in_guest("net", "ping -c 3 -W 5 10.9.0.1")
    dom0.ok(f"ping -c 2 -s 6000 -W 5 {ADDRESS}")  # fragments, more than a page in all
    down, up = transfer(dom0, "net", 16), transfer_up(dom0, "net", 16)
    assert down and up
    ring = json.loads(dom0.tool("ring net vif0 --json"))
    figures = {f["name"]: int(f["value"]) for f in ring["figures"]}
    assert ring["backend_state"] == ring["frontend_state"] == "Connected" and figures["grants"] == 4, ring
    assert figures["q0.tx_events"] + figures["q1.tx_events"] > 0 and figures["q0.tx_entries"] == 256, figures
    assert {"name": "feature-sg", "value": "1"} in ring["offered"], ring
    assert int(ring["pid"]) == int(dom0.ok("pidof domus-netd")), ring
    stats = json.loads(dom0.tool("device-stats net --json"))["devices"][0]
    assert stats["device"] == "vif0" and int(stats["in_flight"]) >= 0 and "in_per_s" in stats, stats
    # Segmentation is left to the other side: far fewer packets than 1500-byte frames would be.
    assert int(dom0.in_guest("net", "cat /sys/class/net/eth0/statistics/rx_packets")) < 9000
    dom0.tool("destroy net")
    dom0.wait_gone("net")
    assert "vif" not in dom0.ok("ls /sys/class/net/xenbr0/brif"), "an interface is left"


@only(tools="domus")
def test_a_foreign_address_and_plugging(dom0):
    """A foreign source address is not let through; a card comes and goes without a trace."""
    guest(dom0, "plug")
    dom0.in_guest("plug", "ip link set eth0 down; ip link set eth0 address 00:16:3e:66:66:66; ip link set eth0 up")
    dom0.in_guest("plug", "! ping -c 2 -W 2 10.9.0.1")
    dom0.in_guest("plug", f"ip link set eth0 down; ip link set eth0 address {MAC}; ip link set eth0 up")
    dom0.until("/usr/lib/domus/guest-run plug 20 'ping -c 1 -W 5 10.9.0.1'", 60)
    for _ in range(2):
        assert "domus-vif" in dom0.tool("network-list plug --json")
        dom0.tool("network-detach plug 0")
        dom0.until("/usr/lib/domus/guest-run plug 10 '[ ! -e /sys/class/net/eth0 ]'", 60)
        assert "vif" not in dom0.ok("ls /sys/class/net/xenbr0/brif"), "an interface is left"
        attach(dom0, "plug")
        up(dom0, "plug")
    destroy(dom0, "plug")


@only(tools="domus")
def test_three_cards_and_plugging_under_traffic(dom0):
    """Two cards on two bridges carry a transfer each while a third comes and goes."""
    dom0.ok("ip link add name xenbr7 type bridge && ip link set xenbr7 up && ip addr add 10.7.0.1/24 dev xenbr7; httpd -p 8001 -h /tmp; "
            "dd if=/dev/urandom of=/tmp/down bs=1M count=24 2>/dev/null")
    expected = dom0.ok("sha256sum </tmp/down").split()[0]
    second = "mac=00:16:3e:00:00:56,bridge=xenbr7,backendtype=domus"
    guest(dom0, "three", vif=[f"mac={MAC},bridge=xenbr0,backendtype=domus", second])
    dom0.in_guest("three", "ip link set eth1 up; ip addr add 10.7.0.5/24 dev eth1")
    dom0.until("/usr/lib/domus/guest-run three 20 'ping -c 1 -W 5 10.7.0.1'", 60)
    for card, server in (0, "10.9.0.1"), (1, "10.7.0.1"):
        dom0.in_guest("three", f"(wget -qO- http://{server}:8001/down | sha256sum >/tmp/sum{card}) >/dev/null 2>&1 &")
    for _ in range(2):
        dom0.tool("network-attach three mac=00:16:3e:00:00:57 bridge=xenbr7 backendtype=domus")
        dom0.until("/usr/lib/domus/guest-run three 10 'grep -q 00:16:3e:00:00:57 /sys/class/net/eth2/address'", 60)
        dom0.tool("network-detach three 2")
        dom0.until("/usr/lib/domus/guest-run three 10 '[ ! -e /sys/class/net/eth2 ]'", 60)
    for card in range(2):
        dom0.until(f"/usr/lib/domus/guest-run three 10 '[ -s /tmp/sum{card} ]'", 180)
        assert dom0.in_guest("three", f"cat /tmp/sum{card}").split()[0] == expected, f"card {card}"
    assert len(dom0.ok("ls /sys/class/net/xenbr7/brif").split()) == 1, "an interface is left"
    destroy(dom0, "three")
    dom0.ok("kill $(pidof httpd); rm /tmp/down; ip link del xenbr7")


@long
@only(tools="domus")
def test_a_card_served_by_another_guest(dom0):
    """A driver domain: domus-netd in a guest serves another one's card. It dies, comes back, and ends."""
    assert "backend=net: there is no guest called net" in dom0.refused("domus create " + dom0.config("served", vif=["backend=net"]))
    dom0.ok("cat /boot/domu.img /boot/driver-net.img >/tmp/driver.img")
    dom0.guest("net", "domus.bridge=10.8.0.1/24", ramdisk="/tmp/driver.img", memory=192)
    dom0.wait_guest("net")
    dom0.until("/usr/lib/domus/guest-run net 10 'cat /var/log/domus/domus-netd.log; "
               "grep -q serving /var/log/domus/domus-netd.log'", 60)
    dom0.guest("served", vif=[f"backend=net,bridge=xenbr0,mac={MAC}"])
    dom0.wait_guest("served")
    number = dom0.domid("net")
    assert f"/local/domain/{number}/backend/domus-vif/" in dom0.tool("network-list served")
    assert dom0.in_guest("net", "ls /sys/class/net/xenbr0/brif").split() == [f"vif{dom0.domid('served')}.0"]
    dom0.in_guest("served", "ip link set eth0 up; ip addr add 10.8.0.5/24 dev eth0")
    dom0.until("/usr/lib/domus/guest-run served 20 'ping -c 1 -W 5 10.8.0.1'", 60)
    dom0.in_guest("net", "dd if=/dev/urandom of=/tmp/down bs=1M count=4 2>/dev/null; httpd -p 8001 -h /tmp")
    got = dom0.in_guest("served", "wget -qO- http://10.8.0.1:8001/down | sha256sum", 120).split()[0]
    assert got == dom0.in_guest("net", "sha256sum </tmp/down").split()[0]
    dom0.in_guest("net", "kill -9 $(pidof domus-netd)")
    dom0.until("/usr/lib/domus/guest-run served 20 'ping -c 1 -W 5 10.8.0.1'", 60)
    destroy(dom0, "net")
    dom0.until("/usr/lib/domus/guest-run served 10 '[ ! -e /sys/class/net/eth0 ]'", 60)
    assert "domus-vif" not in dom0.tool("network-list served")
    destroy(dom0, "served")
    dom0.ok("rm /tmp/driver.img")


@only(tools="domus")
def test_our_frontend_on_it(dom0):
    """All pages of both queues stay mapped, and packets go through them; unloaded, it leaves the card to another as it was."""
    guest(dom0, "ours", OURS, vcpus=2)
    moves(dom0, "ours", mapped=512)
    figures = figures_of(dom0, "ours")
    assert figures["q1.mapped"] == 512, figures
    for way in ("tx", "rx"):
        pieces, packets = (figures[f"q0.{way}_{what}"] + figures[f"q1.{way}_{what}"] for what in ("mapped", "packets"))
        assert packets > 0 and pieces >= packets - 20, figures  # the first may have come before the pages were mapped
    assert control_nodes(dom0, "ours") == ["ctrl-ring-ref", "event-channel-ctrl"]
    reload(dom0, "ours", "domus-netfront.ko mapped=0")
    assert control_nodes(dom0, "ours") == []
    moves(dom0, "ours", mapped=0)
    reload(dom0, "ours", "domus-netfront.ko mapped=1")
    moves(dom0, "ours", mapped=256)
    reload(dom0, "ours", "xen-netfront.ko")
    moves(dom0, "ours", mapped=0)
    # What the backend held when the card was closed is told of by a line for each page: rings only.
    log, lines = dom0.in_guest("ours", "dmesg >/tmp/log && wc -l </tmp/log && sed -n /deferring/p /tmp/log | wc -l").split()
    assert int(log) > 0 and int(lines) < 50, f"{lines} of the log's {log} lines"
    destroy(dom0, "ours")


@only(tools="domus")
def test_our_frontend_believes_its_events(dom0):
    """Lots of 64 packets, as many as one turn of the poll takes: the turn after it finds nothing, and yet the event was no
    false alarm. Linux lets a channel that gives two of those rest. A probe hears what the kernel is told of each event."""
    guest(dom0, "lots", OURS)
    dom0.in_guest("lots", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all; mount -t tracefs tracefs /sys/kernel/tracing; "
                  "cd /sys/kernel/tracing; echo p:told xen_irq_lateeoi irq=%di:u32 false=%si:u32 >kprobe_events; echo 1 >events/kprobes/told/enable")
    dom0.ok("ip link set xenbr0 mtu 1020; ping -c 20 -i 0.2 -W 1 -s 63992 10.9.0.5; ip link set xenbr0 mtu 1500")
    told = dom0.in_guest("lots", "irq=$(grep -m 1 vif /proc/interrupts | cut -d: -f1); "
                         "grep \"irq=$((irq)) \" /sys/kernel/tracing/trace")
    false = told.count("false=1")
    assert told.count("false=0") >= 20 and false <= 2, f"{false} false alarms: {told}"
    destroy(dom0, "lots")


@only(tools="domus")
def test_our_frontend_fills_no_full_ring(dom0):
    """The daemon rests until the ring is full, and the card goes down and up, again and again: each time the network layer
    may send once more."""
    guest(dom0, "full", OURS)
    neighbour = "arp -s 10.9.0.1 " + dom0.ok("cat /sys/class/net/xenbr0/address").strip()
    dom0.ok("kill -STOP $(pidof domus-netd)")
    dom0.in_guest("full", f"{neighbour}; ping -c 9 -i 0.1 -W 1 -s 50000 10.9.0.1 >/dev/null; for i in $(seq 30); do "
                  f"ip link set eth0 down; ip link set eth0 up; {neighbour}; ping -c 1 -W 1 10.9.0.1 >/dev/null & sleep 0.2; done; wait; "
                  "arp -d 10.9.0.1")
    dom0.ok("kill -CONT $(pidof domus-netd)")
    dom0.until("/usr/lib/domus/guest-run full 20 'ping -c 1 -W 5 10.9.0.1'", 60)
    assert "ran away" not in dom0.ok("cat /var/log/domus/domus-netd.log")
    destroy(dom0, "full")


@only(tools="domus")
def test_killed_during_a_transfer(dom0):
    killed_during_a_transfer(dom0, "")


@only(tools="domus")
def test_killed_under_our_frontend(dom0):
    """A new daemon maps nothing by itself: it is told the pages again."""
    killed_during_a_transfer(dom0, OURS, mapped=512)


def killed_during_a_transfer(dom0, options, mapped=0):
    """Packets may be lost, the connection may not: TCP repeats what was on its way. The store's end in between
    is not even noticed."""
    guest(dom0, "kn", options)
    dom0.ok("dd if=/dev/urandom of=/tmp/big bs=1M count=48 2>/dev/null; httpd -p 10.9.0.1:8002 -h /tmp")
    expected = dom0.ok("sha256sum </tmp/big").split()[0]
    dom0.in_guest("kn", "(wget -qO /tmp/big http://10.9.0.1:8002/big; sha256sum </tmp/big >/tmp/sum) >/dev/null 2>&1 &")
    for kill in range(5):
        dom0.until(f"/usr/lib/domus/guest-run kn 10 '[ -s /tmp/sum -o $(stat -c %s /tmp/big) -gt {(kill * 6 + 1) << 20} ]'")
        dom0.ok("kill -9 $(pidof domus-netd)")
        dom0.until("pidof domus-netd && ls /sys/class/net/xenbr0/brif | grep -q vif", 30)
        wait_mapped(dom0, "kn", mapped)
        if kill == 2:
            dom0.ok("kill -9 $(pidof domus-xenstored)")
            dom0.until("pidof domus-xenstored && xenstore-exists /local/domain/0", 30)
    dom0.until("/usr/lib/domus/guest-run kn 10 '[ -s /tmp/sum ]'", 180)
    assert dom0.in_guest("kn", "cat /tmp/sum").split()[0] == expected
    assert not mapped or figures_of(dom0, "kn")["q0.rx_mapped"] > 0
    dom0.ok("kill $(pidof httpd); rm /tmp/big")
    destroy(dom0, "kn")


@long
@only(tools="domus")
def test_a_tree_copied_while_the_daemon_is_killed_twenty_times(dom0):
    """A tree of files of many sizes, copied by tar over the network: whole on the other side."""
    guest(dom0, "tree", memory=256)
    dom0.ok("mkdir -p /tmp/out/tree; cd /tmp/out/tree; for d in $(seq 20); do mkdir d$d; for f in $(seq 10); do "
            "dd if=/dev/urandom of=d$d/f$f bs=1000 count=$((d * f * 3 + 1)) 2>/dev/null; done; done; "
            "cd ..; tar cf tree.tar tree; httpd -p 10.9.0.1:8002 -h /tmp/out", 120)
    # What has come by now, in KiB, is where the next kill is waited for: the tree has 34 000.
    dom0.in_guest("tree", "(cd /tmp; wget -qO- http://10.9.0.1:8002/tree.tar | tar x; touch /tmp/through) >/dev/null 2>&1 &")
    for kill in range(20):
        dom0.until("/usr/lib/domus/guest-run tree 10 "
                   f"'[ -e /tmp/through -o $(du -s /tmp/tree | cut -f1) -gt {kill * 1600 + 100} ]'", 180)
        dom0.ok("kill -9 $(pidof domus-netd)")
        dom0.until("pidof domus-netd && ls /sys/class/net/xenbr0/brif | grep -q vif", 60)
    dom0.until("/usr/lib/domus/guest-run tree 10 '[ -e /tmp/through ]'", 300)
    sums = "cd {}; find tree -type f | sort | xargs sha256sum | sha256sum; find tree -type f | wc -l"
    assert dom0.in_guest("tree", sums.format("/tmp"), 120).split()[::2] == dom0.ok(sums.format("/tmp/out")).split()[::2]
    dom0.ok("kill $(pidof httpd); rm -r /tmp/out")
    destroy(dom0, "tree")


def guest(dom0, name, options="", vif=(f"mac={MAC},bridge=xenbr0,backendtype=domus",), **keys):
    dom0.guest(name, options, vif=list(vif), **keys)
    dom0.wait_guest(name)
    up(dom0, name)


def reload(dom0, name, module):
    """Takes the driver off the card, looks what it left in the store, and puts another one on."""
    dom0.in_guest(name, "echo vif-0 >/sys/bus/xen/drivers/vif/unbind; rmmod domus_netfront")
    assert control_nodes(dom0, name) == []
    dom0.in_guest(name, f"insmod /lib/domus/modules/{module}")
    up(dom0, name)


def control_nodes(dom0, name):
    nodes = dom0.ok(f"xenstore-list /local/domain/{dom0.domid(name)}/device/vif/0").split()
    return sorted(node for node in nodes if "ctrl" in node)


def moves(dom0, name, mapped):
    """Data goes both ways, with so many pages mapped."""
    wait_mapped(dom0, name, mapped)
    dom0.in_guest(name, "ping -c 3 -W 5 10.9.0.1")
    assert transfer(dom0, name, 4) and transfer_up(dom0, name, 4)
    assert figures_of(dom0, name)["q0.mapped"] == mapped


def wait_mapped(dom0, name, pages):
    for _ in range(30):
        found = figures_of(dom0, name).get("q0.mapped")
        if found == pages:
            return
        dom0.ok("sleep 0.3")
    raise AssertionError(f"{found} pages are mapped, not {pages}")


def figures_of(dom0, name):
    return {f["name"]: int(f["value"]) for f in json.loads(dom0.tool(f"ring {name} vif0 --json"))["figures"]}


def up(dom0, name):
    dom0.until(f"/usr/lib/domus/guest-run {name} 10 '[ -e /sys/class/net/eth0 ]'", 60)
    dom0.in_guest(name, f"ip link set eth0 up; ip addr add {ADDRESS}/24 dev eth0")
    dom0.until(f"/usr/lib/domus/guest-run {name} 20 'ping -c 1 -W 5 10.9.0.1'", 60)


def attach(dom0, name):
    dom0.tool(f"network-attach {name} mac={MAC} bridge=xenbr0 backendtype=domus")


def transfer(dom0, name, mib):
    """From dom0 to the guest."""
    dom0.ok(f"dd if=/dev/urandom of=/tmp/down bs=1M count={mib} 2>/dev/null; httpd -p 10.9.0.1:8001 -h /tmp")
    got = dom0.in_guest(name, "wget -qO- http://10.9.0.1:8001/down | sha256sum", 120).split()[0]
    dom0.ok("kill $(pidof httpd)")
    return got == dom0.ok("sha256sum </tmp/down; rm /tmp/down").split()[0]


def transfer_up(dom0, name, mib):
    dom0.in_guest(name, f"dd if=/dev/urandom of=/tmp/up bs=1M count={mib} 2>/dev/null; httpd -p 8001 -h /tmp")
    got = dom0.ok(f"wget -qO- http://{ADDRESS}:8001/up | sha256sum", 120).split()[0]
    dom0.in_guest(name, "kill $(pidof httpd)")
    return got == dom0.in_guest(name, "sha256sum </tmp/up; rm /tmp/up").split()[0]


def destroy(dom0, name):
    dom0.tool(f"destroy {name}")
    dom0.wait_gone(name)
