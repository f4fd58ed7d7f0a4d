"""Guests live and die: creates and destroys in a row, two at once, shutdown, reboot, crash."""
from harness.machine import Failure


def test_ten_creates_and_destroys_return_all_memory(dom0):
    # The first one pays for caches that stay (an unpacked image, slabs); memory of a guest comes back asynchronously.
    dom0.guest("first")
    dom0.tool("destroy first")
    dom0.wait_gone("first")
    before = dom0.free_memory()
    for n in range(10):
        dom0.guest(f"row{n}")
        dom0.tool(f"destroy row{n}")
        dom0.wait_gone(f"row{n}")
    after = dom0.free_memory()
    assert after == before, f"free memory was {before} and is {after}: {before - after} lost"


def test_two_guests_ping_each_other(dom0):
    for name, last in (("left", 1), ("right", 2)):
        dom0.guest(name, "domus.check=net", vif=[f"mac=00:16:3e:00:00:{last:02x},bridge=xenbr0"])
    addresses = {}
    for name in ("left", "right"):
        dom0.wait_guest(name)
        shown = dom0.in_guest(name, "ip -4 addr show dev eth0; cd /sys/class/net/eth0/statistics; cat rx_packets tx_packets")
        assert "inet " in shown, f"{name} has no address: {shown}\n" + dom0.ok(
            f"cat /var/log/domus/console/{name}.log; ip link; cat /run/udhcpd.leases | wc -c; pidof udhcpd")
        addresses[name] = shown.split("inet ")[1].split("/")[0]
    assert addresses["left"] != addresses["right"], addresses
    dom0.in_guest("left", f"ping -c 3 -W 5 {addresses['right']}")
    dom0.in_guest("right", f"ping -c 3 -W 5 -s 1400 {addresses['left']}")
    for name in ("left", "right"):
        dom0.tool(f"destroy {name}")
        dom0.wait_gone(name)


def test_shutdown_asks_the_guest(dom0):
    dom0.guest("down", on_poweroff="destroy")
    dom0.wait_guest("down")
    dom0.tool("shutdown down")
    dom0.wait_gone("down", 90)


def test_reboot_gives_a_new_domain_of_the_same_name(dom0):
    dom0.guest("again", on_reboot="restart")
    dom0.wait_guest("again")
    old = dom0.domid("again")
    dom0.in_guest("again", "touch /tmp/before-reboot")
    dom0.tool("reboot again")
    dom0.until(f"{dom0.tool_name} list | awk '$1 == \"again\" && $2 != {old} {{ found = 1 }} END {{ exit !found }}'", 120)
    dom0.wait_guest("again")
    dom0.in_guest("again", "[ ! -e /tmp/before-reboot ]")
    dom0.tool("destroy again")
    dom0.wait_gone("again")


def test_reboot_from_inside_with_on_reboot_destroy(dom0):
    dom0.guest("once", on_reboot="destroy")
    dom0.wait_guest("once")
    dom0.run("/usr/lib/domus/guest-run once 5 'reboot -f'", 60)
    dom0.wait_gone("once", 90)


def test_crash_with_on_crash_destroy(dom0):
    dom0.guest("crash", on_crash="destroy")
    dom0.wait_guest("crash")
    dom0.run("/usr/lib/domus/guest-run crash 5 'echo c >/proc/sysrq-trigger'", 60)
    dom0.wait_gone("crash", 90)


def test_crash_with_on_crash_preserve_keeps_the_domain_to_look_at(dom0):
    dom0.guest("kept", on_crash="preserve")
    dom0.wait_guest("kept")
    dom0.run("/usr/lib/domus/guest-run kept 5 'echo c >/proc/sysrq-trigger'", 60)
    # The state column of the list: c for crashed.
    dom0.until(f"{dom0.tool_name} list | grep '^kept ' | awk '{{ print $5 }}' | grep -q c", 60)
    dom0.tool("destroy kept")
    dom0.wait_gone("kept")


def test_pause_stops_the_guest_and_unpause_lets_it_go_on(dom0):
    dom0.guest("still")
    dom0.wait_guest("still")
    dom0.tool("pause still")
    if dom0.run("/usr/lib/domus/guest-run still 5 'echo up'", 60).status == 0:
        raise Failure("a paused guest answered")
    dom0.tool("unpause still")
    dom0.wait_guest("still")
    dom0.tool("destroy still")
    dom0.wait_gone("still")


def test_several_vcpus(dom0):
    dom0.guest("smp", vcpus=3)
    dom0.wait_guest("smp", 180)
    assert dom0.in_guest("smp", "nproc").strip() == "3"
    dom0.tool("destroy smp")
    dom0.wait_gone("smp")
