"""A guest's memory management under stress (programs/memory_stress.c), on the stock kernel, with the hypervisor's fast paths
and without: fork and mprotect storms, thousands of mappings, mremap, madvise and swap on a disk, every byte checked.
"""
from harness.dom0 import Dom0
from harness.guest import image_with
from harness.runner import long, only

PARTS = ("fork", "mprotect", "mappings", "mremap", "madvise", "swap")
ROUNDS, LIMIT = 4, 3600


def stress(host, name, hypervisor_options):
    dom0 = Dom0(host.settings, host.work, f"memory-{name}", files={"/boot/stress.img": image_with(host, "memory_stress")},
                hypervisor_options=hypervisor_options)
    try:
        dom0.guest("mm", ramdisk="/boot/stress.img", memory=112, vcpus=2,
                   disk=[f"{dom0.disk('/tmp/swap.img', 128)},raw,xvda,rw,backendtype=domus"])
        dom0.wait_guest("mm", 240)
        dom0.in_guest("mm", "(/memory_stress %d /dev/xvda >/tmp/said 2>&1; "
                            "echo \"status $?\" >>/tmp/said) >/dev/null 2>&1 &" % ROUNDS)
        dom0.until("/usr/lib/domus/guest-run mm 30 'grep status /tmp/said'", LIMIT)
        said = dom0.in_guest("mm", "cat /tmp/said")
        assert said.split() == " ".join(f"ok {part}" for part in PARTS).split() + ["status", "0"], said
        refused = [line for line in dom0.log() if "refused" in line]
        assert not refused, f"the hypervisor refused something: {refused[-5:]}"
        dom0.tool("destroy mm")
        dom0.wait_gone("mm")
    finally:
        dom0.stop()


@only("domus", hypervisor="domus")
@long
def test_memory_stress(host):
    stress(host, "fast", "")


@only("domus", hypervisor="domus")
@long
def test_memory_stress_with_every_table_unhooked(host):
    stress(host, "unhook", "unhook=1")


@only("domus", hypervisor="domus")
@long
def test_memory_stress_without_fast_paths(host):
    stress(host, "slow", "unhook=0 fast-tables=0 fast-syscall=0 fast-iret=0 fast-fault=0 fast-hypercall=0")
