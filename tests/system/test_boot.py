"""From power-on: the main job as `make run` does it, GRUB by multiboot 2, and machines that cannot boot."""
import os
import subprocess
import sys

import qemu
from harness.machine import Failure, Machine
from harness.runner import only


def test_demo_as_make_run_does_it(host):
    log = os.path.join(host.work, "demo.console")
    environment = {**os.environ, "DEMO": "1", "HYPERVISOR": host.settings.hypervisor, "TOOLS": host.settings.tools,
                   "TIMEOUT": "400"}
    with open(log, "wb") as out:
        status = subprocess.run([sys.executable, os.path.join(qemu.ROOT, "packaging", "run.py")], env=environment,
                                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT).returncode
    with open(log, errors="replace") as f:
        text = f.read()
    if status != 0:
        raise Failure(f"exit status {status}; end of its output:\n" + "\n".join(text.splitlines()[-40:]))
    for stage in ("create:", "boot:", "block:", "network:", "login:", "shutdown:", "disk:"):
        assert f"] {stage}" in text, f"no line for the stage {stage}"


def test_make_run_says_what_is_wrong_with_its_settings(host):
    for setting, complaint in (({"FILES": "packaging/run.py nowhere"}, "nowhere: No such file or directory"),
                               ({"DEMO": "0"}, "DEMO=0 is for a terminal")):
        environment = {**os.environ, "HYPERVISOR": host.settings.hypervisor, "TOOLS": host.settings.tools, **setting}
        ended = subprocess.run([sys.executable, "packaging/run.py"], env=environment, cwd=qemu.ROOT, text=True,
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert ended.returncode == 2 and complaint in ended.stderr, ended


@only(hypervisor="domus")
def test_grub_by_multiboot_2(host):
    disc = os.path.join(host.work, "test.iso")
    subprocess.run([os.path.join(qemu.ROOT, "packaging", "iso.sh"), host.settings.hypervisor_image(), disc,
                    "domus.console=shell", host.settings.dom0_image()], check=True, stdout=subprocess.DEVNULL)
    machine = Machine(qemu.machine(host.settings) + ["-cdrom", disc], os.path.join(host.work, "grub.console"))
    try:
        machine.wait_for("dom0: shell ready", 300)
        machine.send('echo "caps $(cat /proc/xen/capabilities)"; poweroff -f\n')
        machine.wait_for("caps control_d", 30)
        machine.wait_end(60)
    except Failure as problem:
        raise Failure(f"{problem}\n{machine.tail()}") from None
    finally:
        machine.stop()
        os.remove(disc)


def broken_boot(host, name, initrd, pattern):
    """A machine with these multiboot modules stops, and says why."""
    command = qemu.machine(host.settings) + ["-kernel", host.settings.hypervisor_image(), "-append",
                                             f"dom0_mem=256M noreboot {qemu.CONSOLE}"] + initrd
    machine = Machine(command, os.path.join(host.work, f"{name}.console"))
    try:
        machine.wait_for(pattern, 60)
    except Failure as problem:
        raise Failure(f"{problem}\n{machine.tail()}") from None
    finally:
        machine.stop()


def test_without_dom0_kernel_it_says_so(host):
    broken_boot(host, "no-modules", [], r"(?i)dom0|module")


@only(hypervisor="domus")
def test_truncated_dom0_kernel_is_refused_by_name_or_offset(host):
    half = os.path.join(host.work, "half-kernel")
    with open(host.settings.dom0_kernel_image(), "rb") as f, open(half, "wb") as out:
        out.write(f.read(2000000))
    broken_boot(host, "half-kernel", ["-initrd", f"{half} console=hvc0"], r"(?i)(truncated|offset|payload|xz)")
    os.remove(half)


@only(hypervisor="domus")
def test_dom0_kernel_that_can_only_be_a_guest_is_refused(host):
    note = b"\x04\0\0\0\x04\0\0\0\x11\0\0\0Xen\0"  # SUPPORTED_FEATURES, of four bytes
    with open(os.path.join(qemu.BUILD, "guests", "hello.elf"), "rb") as f:
        guest = f.read()
    assert guest.count(note + b"\x01\x88\0\0") == 1, "hello.elf has no note of the form this test knows"
    path = os.path.join(host.work, "guest-only")
    with open(path, "wb") as out:
        out.write(guest.replace(note + b"\x01\x88", note + b"\x01\x80"))
    broken_boot(host, "guest-only", ["-initrd", f"{path} console=hvc0"], r"guest only.*XENFEAT_dom0")
    os.remove(path)


@only(hypervisor="domus")
def test_dom0_kernel_that_is_not_pv_is_refused(host):
    # An ELF program without Xen's notes.
    broken_boot(host, "not-pv", ["-initrd", "/bin/busybox console=hvc0"], r"(?i)note")
