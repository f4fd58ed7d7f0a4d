"""The guest kernel with our series (guest-patches/), built here: under page-table stress as a guest of Domus with the
extension and without, of Xen, and on the bare machine; and its hypercalls in ftrace."""
import dataclasses
import os
import subprocess

import qemu
from cpio import Tree
from harness.dom0 import Dom0
from harness.machine import Machine
from harness.runner import long

TOP = qemu.ROOT
SOURCE = os.path.join(TOP, "tests", "guest_kernel")
KERNEL = "/boot/patched"
STRESS = "/stress 1 1500 4"
NATIVE = b"#!/bin/busybox sh\n/stress 1 1500 4\n/bin/busybox poweroff -f\n"


def kernel_and_disk(host):
    """Builds the kernel (a no-op when nothing changed) and a guest's RAM disk with the stress program."""
    subprocess.run([os.path.join(TOP, "guest-patches", "build.sh")], check=True)
    os.makedirs(host.work, exist_ok=True)
    disk = f"{host.work}/stress.img"
    tree = Tree()
    for name in ("stress", "huge"):
        program = f"{host.work}/{name}"
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", program, f"{SOURCE}/{name}.c"],
                       check=True)
        tree.copy(program, f"/{name}", 0o755)
    tree.file("/native", NATIVE, 0o755)
    with open(disk, "wb") as out:
        out.write(tree.pack_behind(f"{qemu.BUILD}/images/domu.img"))
    return qemu.kernel_image("patched"), disk


def stressed_guest(host, settings, hypervisor_options="", domus=None, then=None):
    """domus: whether the kernel is to find the extension; None: it does not say."""
    kernel, disk = kernel_and_disk(host)
    dom0 = Dom0(settings, host.work, "guest-kernel", files={KERNEL: kernel, "/boot/stress.img": disk},
                hypervisor_options=hypervisor_options)
    try:
        dom0.guest("patched", kernel=KERNEL, ramdisk="/boot/stress.img", vcpus=2, memory=192)
        dom0.wait_guest("patched")
        said = dom0.in_guest("patched", "dmesg | grep -c domus: ; true").strip()
        assert domus is None or (said != "0") == domus, f"{said} lines about the extension"
        assert "stress: good" in dom0.in_guest("patched", STRESS, 900)
        bad = dom0.in_guest("patched", "dmesg | grep -E \"WARNING|BUG|multicall\" ; true").strip()
        assert not bad, f"the kernel complains: {bad}"
        if then:
            then(dom0)
        dom0.tool("destroy patched")
        dom0.wait_gone("patched")
    finally:
        dom0.stop()


def hypercalls_are_traced(dom0):
    """ftrace shows hypercalls by name, with how long they took, while it is asked to."""
    text = dom0.in_guest("patched", "mount -t tracefs none /sys/kernel/tracing; cd /sys/kernel/tracing; "
                         "echo 1 >events/xen/xen_hypercall/enable; ls / >/dev/null; "
                         "echo 0 >events/xen/xen_hypercall/enable; grep took trace | tail -n 5")
    assert "xen_hypercall: op " in text and " ns" in text, text


def huge_pages_hold(dom0):
    """Most of what a process touches is in huge pages, and stays what it is whatever happens to parts of them."""
    said = dom0.in_guest("patched", "/huge 6", 600)
    assert "huge: good" in said, said
    most = int(said.split(" kB at most")[0].split()[-1])
    assert most >= 8 << 10, f"only {most} kB of 16 MiB were in huge pages"
    bad = dom0.in_guest("patched", "dmesg | grep -E \"WARNING|BUG|multicall\" ; true").strip()
    assert not bad, f"the kernel complains: {bad}"
    refused = [line for line in dom0.log() if "refused" in line]
    assert not refused, f"entries were refused: {refused[-5:]}"


@long
def test_huge_pages_of_the_patched_kernel(host):
    stressed_guest(host, host.settings, domus=True, then=huge_pages_hold)


@long
def test_patched_kernel_on_domus(host):
    stressed_guest(host, host.settings, domus=True, then=hypercalls_are_traced)


@long
def test_patched_kernel_on_domus_without_extension(host):
    stressed_guest(host, host.settings, "extension=no", domus=False)


@long
def test_patched_kernel_on_xen(host):
    subprocess.run(["make", "-C", TOP, "xen", "images", "HYPERVISOR=xen", "TOOLS=xen"], check=True)
    stressed_guest(host, dataclasses.replace(host.settings, hypervisor="xen", tools="xen"), domus=False)


@long
def test_patched_kernel_on_the_bare_machine(host):
    kernel, disk = kernel_and_disk(host)
    settings = dataclasses.replace(host.settings, kernel=kernel, cpus=2)
    machine = Machine(qemu.boot_native(settings, "rdinit=/native", disk), f"{host.work}/guest-kernel-native.console")
    try:
        machine.wait_for("stress: good", 600)
    finally:
        machine.stop()
