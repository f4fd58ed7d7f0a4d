"""Debian's unmodified kernel as dom0: it comes up on the hypervisor, sees it, takes keys, and powers off in order."""
import os

import qemu
from harness.machine import Failure, Machine

# Under TCG on a busy machine; about 15 s alone.
BOOT_LIMIT = 180


def dom0(host, name, use):
    """Boots dom0 with our RAM disk to a shell on its console, and hands it to `use`."""
    command = qemu.boot_hypervisor(host.settings, "domus.console=shell", "loglvl=warning")
    machine = Machine(command, os.path.join(host.work, f"{name}.console"))
    try:
        machine.wait_for("dom0: system ready", BOOT_LIMIT)
        machine.wait_for("dom0: shell ready", 60)
        use(machine)
    except Failure as problem:
        raise Failure(f"{problem}\n{machine.tail()}") from None
    finally:
        machine.stop()


def test_comes_up_and_powers_off(host):
    def use(machine):
        machine.send('echo "capabilities <$(cat /proc/xen/capabilities)> type <$(cat /sys/hypervisor/type)>"\n')
        machine.wait_for("capabilities <control_d> type <xen>", 30)
        machine.send("echo version $(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)\n")
        machine.wait_for(r"version 4\.17", 30)
        machine.send("poweroff -f\n")
        status = machine.wait_end(60)
        if status != 0:
            raise Failure(f"QEMU ended with status {status} at power-off")
    dom0(host, "dom0-power", use)


def test_computes_sleeps_and_forks_correctly(host):
    def use(machine):
        # Checksums over memory that is copied between processes, and timers against the kernel's own clock.
        machine.send("dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum\n")
        machine.wait_for("2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74", 60)
        machine.send("n=0; while [ $n -lt 200 ]; do n=$((n + $(echo 1))); done; echo forked $((n + 1))\n")
        machine.wait_for("forked 201", 120)
        machine.send("a=$(cut -d. -f1 /proc/uptime); sleep 3; b=$(cut -d. -f1 /proc/uptime); echo slept $((b - a))\n")
        machine.wait_for("slept [3-9]", 60)
        machine.send("dmesg | grep -c 'Call Trace\\|BUG:\\|soft lockup' | sed 's/^/complaints: /'\n")
        machine.wait_for("complaints: 0", 30)
    dom0(host, "dom0-work", use)
