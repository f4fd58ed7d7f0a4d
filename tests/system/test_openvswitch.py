"""Cards on an Open vSwitch bridge: Debian's own switch runs in dom0."""
import os
import re
import subprocess

import qemu
from harness.dom0 import Dom0
from harness.modules import load, module_files
from harness.runner import only

SWITCH = os.path.join(qemu.BUILD, "cache", "openvswitch")
PROGRAMS = {"usr/bin/ovs-vsctl": "/usr/bin/ovs-vsctl", "usr/bin/ovsdb-tool": "/usr/bin/ovsdb-tool",
            "usr/sbin/ovsdb-server": "/usr/sbin/ovsdb-server",
            "usr/lib/openvswitch-switch/ovs-vswitchd": "/usr/sbin/ovs-vswitchd"}
PORTS = "ovs-vsctl --timeout=20 list-ports ovs0"
MAC = "mac=00:16:3e:00:00:6{}"
IN = "/usr/lib/domus/guest-run {} 20 '{}'"


@only(tools="domus")
def test_cards_on_its_bridges(host):
    dom0 = Dom0(host.settings, host.work, "openvswitch", files=switch_files(host.settings))
    try:
        dom0.guest("one")
        dom0.wait_guest("one")
        refusals(dom0)
        two_guests(dom0)
        vlan_and_mtu(dom0)
        daemons_die(dom0)
        ends(dom0)
    finally:
        dom0.stop()


def refusals(dom0):
    """Each part of the switch missing in turn: a reason in bounded time, and nothing left."""
    attach = f"domus network-attach one {MAC.format(1)} bridge=ovs0"
    dom0.ok("mv /usr/bin/ovs-vsctl /tmp/")
    assert "make it (ip link add" in dom0.refused(attach)
    assert "apt install openvswitch-switch" in dom0.refused(f"{attach} script=vif-openvswitch")
    dom0.ok("mv /tmp/ovs-vsctl /usr/bin/")
    assert "database connection failed" in dom0.refused(f"{attach} script=vif-openvswitch")
    load(dom0, "/lib/openvswitch")
    dom0.ok("mkdir -p /etc/openvswitch /run/openvswitch /var/log/openvswitch && "
            "ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema &&\n"
            "ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --log-file &&\n"
            "ovs-vsctl --timeout=60 --no-wait init", 120)
    assert "ovs-vsctl add-br ovs0" in dom0.refused(f"{attach}.10 script=vif-openvswitch")
    dom0.ok("ovs-vsctl --timeout=60 --no-wait add-br ovs0")
    assert "ovs-vswitchd did not take vif" in dom0.refused(attach)
    dom0.ok("kill -STOP $(cat /run/openvswitch/ovsdb-server.pid)")
    assert "got no answer in time" in dom0.refused(attach)
    dom0.ok("kill -CONT $(cat /run/openvswitch/ovsdb-server.pid)")
    assert dom0.ok(PORTS) == "" and "domus-vif" not in dom0.tool("network-list one --json")
    dom0.ok("ovs-vswitchd --pidfile --detach --log-file && ip link set ovs0 up && ip addr add 10.6.0.1/24 dev ovs0", 120)


def two_guests(dom0):
    """Data from dom0 to both, and from one to the other, whole."""
    dom0.guest("two", vif=[f"{MAC.format(2)},bridge=ovs0"])
    dom0.tool(f"network-attach one {MAC.format(1)} bridge=ovs0")
    dom0.wait_guest("two")
    assert set(dom0.ok(PORTS).split()) == {f"vif{dom0.domid('one')}.0", f"vif{dom0.domid('two')}.0"}
    assert f"attached-mac={MAC.format(2)[4:]}" in dom0.ok(
        f"ovs-vsctl get Interface vif{dom0.domid('two')}.0 external_ids").replace('"', "")
    for number, name in (1, "one"), (2, "two"):
        address(dom0, name, "eth0", f"10.6.0.1{number}", "10.6.0.1")
    dom0.ok("dd if=/dev/urandom of=/tmp/down bs=1M count=16 2>/dev/null; httpd -p 10.6.0.1:8001 -h /tmp")
    expected = dom0.ok("sha256sum </tmp/down").split()[0]
    assert dom0.in_guest("one", "wget -qO /tmp/down http://10.6.0.1:8001/down; sha256sum </tmp/down", 180).split()[0] == expected
    dom0.in_guest("one", "httpd -p 8001 -h /tmp")
    assert dom0.in_guest("two", "wget -qO- http://10.6.0.11:8001/down | sha256sum", 180).split()[0] == expected
    assert dom0.ok("wget -qO- http://10.6.0.11:8001/down | sha256sum", 180).split()[0] == expected


def vlan_and_mtu(dom0):
    dom0.ok("ovs-vsctl --timeout=60 add-port ovs0 ten tag=10 -- set Interface ten type=internal && "
            "ip link set ten up && ip addr add 10.6.10.1/24 dev ten", 120)
    dom0.tool(f"network-attach two {MAC.format(3)} bridge=ovs0.10 mtu=1400")
    port = f"vif{dom0.domid('two')}.1"
    assert dom0.ok(f"ovs-vsctl get Port {port} tag").strip() == "10"
    assert dom0.ok(f"cat /sys/class/net/{port}/mtu").strip() == "1400"
    address(dom0, "two", "eth1", "10.6.10.12", "10.6.10.1")
    dom0.in_guest("two", "ip addr add 10.6.7.2/24 dev eth1")
    dom0.ok("ip addr add 10.6.7.1/24 dev ovs0; echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore")  # `ten` must not answer for it
    dom0.in_guest("two", "! ping -c 2 -W 2 10.6.7.1")  # the same wire without the tag
    dom0.tool("network-detach two 1")
    assert port not in dom0.ok(PORTS)
    dom0.ok("ovs-vsctl --timeout=60 set Interface ovs0 mtu_request=9000")
    dom0.until("grep -q 9000 /sys/class/net/ovs0/mtu", 60)
    dom0.tool(f"network-attach two {MAC.format(3)} bridge=ovs0")
    assert dom0.ok(f"cat /sys/class/net/{port}/mtu /sys/class/net/ovs0/mtu").split() == ["9000", "9000"]
    dom0.tool("network-detach two 1")


def daemons_die(dom0):
    """domus-netd in the middle of a transfer: its interface goes and comes, and is the switch's again."""
    expected = dom0.ok("sha256sum </tmp/down").split()[0]
    dom0.in_guest("two", "(wget -qO /tmp/big http://10.6.0.1:8001/down; sha256sum </tmp/big >/tmp/sum) >/dev/null 2>&1 &")
    for kill in range(3):
        dom0.until(IN.format("two", f"[ -s /tmp/sum -o $(stat -c %s /tmp/big) -gt {(kill * 3 + 1) << 20} ]"), 180)
        old = dom0.ok("pidof domus-netd").strip()
        dom0.ok(f"kill -9 {old}")
        dom0.until(f"p=$(pidof domus-netd) && [ $p != {old} ] && [ -e /sys/class/net/vif{dom0.domid('two')}.0 ]", 60)
    dom0.until(IN.format("two", "[ -s /tmp/sum ]"), 300)
    assert dom0.in_guest("two", "cat /tmp/sum").split()[0] == expected
    old = dom0.ok("pidof domusd").strip()
    dom0.ok(f"kill -9 {old}; kill $(pidof httpd)")
    dom0.until("domus list", 60)
    dom0.tool("network-detach one 0")
    assert dom0.ok(PORTS).split() == ["ten", f"vif{dom0.domid('two')}.0"]


def ends(dom0):
    """A guest that crashes, and one that is destroyed, leave no port."""
    dom0.tool(f"network-attach one {MAC.format(1)} bridge=ovs0:20:30")
    assert dom0.ok(f"ovs-vsctl get Port vif{dom0.domid('one')}.0 trunks").strip() == "[20, 30]"
    dom0.run(IN.format("two", "echo c >/proc/sysrq-trigger"))
    dom0.wait_gone("two", 120)
    dom0.tool("destroy one")
    dom0.wait_gone("one")
    assert dom0.ok(PORTS).split() == ["ten"]


def address(dom0, name, card, own, other):
    dom0.until(IN.format(name, f"[ -e /sys/class/net/{card} ]"), 60)
    dom0.in_guest(name, f"ip link set {card} up; ip addr add {own}/24 dev {card}")
    dom0.until(IN.format(name, f"ping -c 1 -W 5 {other}"), 60)


def switch_files(settings):
    """The switch's programs with their libraries, its schema, and the kernel's part of it in load order."""
    qemu.existing(SWITCH, "Open vSwitch", "make openvswitch")
    libraries = f"{SWITCH}/usr/lib/x86_64-linux-gnu:{SWITCH}/lib/x86_64-linux-gnu"
    schema = "usr/share/openvswitch/vswitch.ovsschema"
    files = {f"/{schema}": f"{SWITCH}/{schema}"}
    for source, path in PROGRAMS.items():
        files[path] = f"{SWITCH}/{source}"
        needs = subprocess.run(["ldd", files[path]], env={**os.environ, "LD_LIBRARY_PATH": libraries}, capture_output=True,
                               text=True, check=True).stdout
        assert "not found" not in needs, needs
        for name, place in re.findall(r"(\S+) => (/\S+)", needs):
            files[f"/lib/x86_64-linux-gnu/{name}"] = place
    # libcrc32c asks for the algorithm by name, so no dependency is listed.
    files.update(module_files(settings, "/lib/openvswitch", ("crc32c_generic", "openvswitch")))
    return files
