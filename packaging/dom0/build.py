#!/usr/bin/env python3
"""Builds the RAM disks from Debian's packages and our programs: dom0's system and the small domU's.

usage: build.py --kernel build/cache/kernel/linux-image-amd64 --guest build/cache/kernel/linux-image-amd64
                --guest-kernel build/cache/kernel/linux-image-amd64/vmlinuz --frontends build/frontends/linux-image-amd64
                --product build/product --tools domus|xen --out build/images

Writes OUT/domu.img and OUT/dom0-TOOLS.img. `--tools domus` takes our programs, `--tools xen` Debian's xenstored,
xenconsoled and xl, so that either set can run above either hypervisor. A program of ours that is not built is
an error. The domU has both pairs of frontends, and `domus.frontends=domus` on its command line makes it load ours
instead of Linux's (rootfs/common/init). Same inputs, same bytes (see cpio.py). Called by the Makefile; needs no privilege.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
from contents import add_modules, add_our_modules, add_program, find_program  # noqa: E402
from cpio import Tree  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 40 * 1000 * 1000  # bytes of a packed RAM disk

DOM0_MODULES = ["xen-evtchn", "xenfs", "xen-privcmd", "xen-gntdev", "xen-gntalloc", "xen-blkback", "xen-netback",
                "bridge", "loop", "tun"]
DOMU_MODULES = ["xen-blkfront", "xen-netfront"]
OUR_FRONTENDS = ["domus-blkfront", "domus-netfront"]
DRIVER_MODULES = ["xen-evtchn", "xen-gntdev", "bridge", "tun"]
OUR_PROGRAMS = ["domus-xenstored", "domus-consoled", "domus-blockd", "domus-blockd-opener",
                "domus-netd", "domusd", "domus"]
XEN_PROGRAMS = ["xl", "libxl-save-helper", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0"]
XENSTORE_TOOLS = ["chmod", "exists", "list", "ls", "read", "rm", "watch", "write"]


def base_tree():
    tree = Tree()
    for folder in "bin dev etc proc root run sbin sys tmp usr/bin usr/sbin var/lib var/log".split():
        tree.directory(folder)
    tree.symlink("/var/run", "/run")
    tree.symlink("/var/lock", "/run/lock")
    # The kernel opens it for init before init can mount anything.
    tree.character_device("/dev/console", 5, 1)
    tree.copy("/bin/busybox", "/bin/busybox", 0o755)
    # The kernel calls these when the hypervisor asks a guest to end.
    for name in ("poweroff", "reboot"):
        tree.symlink(f"/sbin/{name}", "/bin/busybox")
    tree.overlay(f"{HERE}/rootfs/common")
    return tree


def domu(kernel, frontends):
    tree = base_tree()
    tree.overlay(f"{HERE}/rootfs/domu")
    add_modules(tree, kernel, DOMU_MODULES)
    add_our_modules(tree, frontends, OUR_FRONTENDS)
    return tree.pack(level=9)


def driver_domain(kernel, frontends, product):
    """What makes the domU's RAM disk one of a network driver domain (docs/driver-domains.md): to be put behind it."""
    tree = Tree()
    for folder in ("/usr/bin", "/var/log/domus", "/run/domus"):
        tree.directory(folder)
    tree.overlay(f"{HERE}/rootfs/driver-net")
    add_modules(tree, kernel, DOMU_MODULES + DRIVER_MODULES)
    add_our_modules(tree, frontends, OUR_FRONTENDS)
    add_our_program(tree, product, "domus-netd")
    return tree.pack(level=9)


def dom0(kernel, product, tools, guest_kernel, domu_image, driver_image):
    tree = base_tree()
    tree.overlay(f"{HERE}/rootfs/dom0")
    tree.overlay(f"{HERE}/rootfs/dom0-{tools}")
    add_modules(tree, kernel, DOM0_MODULES)
    for tool in XENSTORE_TOOLS:
        add_program(tree, f"/usr/bin/xenstore-{tool}")
    if tools == "domus":
        for name in OUR_PROGRAMS:
            add_our_program(tree, product, name)
        tree.file("/boot/driver-net.img", driver_image)
    else:
        add_xen_programs(tree)
    tree.copy(guest_kernel, "/boot/vmlinuz", 0o644)
    tree.file("/boot/domu.img", domu_image)
    return tree.pack()


def add_our_program(tree, product, name):
    program = find_program(product, name)
    if not program:
        sys.exit(f"RAM disk: {name} is not built below {product}; run `make` first")
    add_program(tree, program, f"/usr/bin/{name}")


def add_xen_programs(tree):
    for name in XEN_PROGRAMS:
        add_program(tree, f"/usr/lib/xen-4.17/bin/{name}")
    # Loaded by the C library when a thread of xl ends.
    add_program(tree, "/lib/x86_64-linux-gnu/libgcc_s.so.1")
    tree.copy("/etc/xen/xl.conf", "/etc/xen/xl.conf")


def save(path, content):
    if len(content) > LIMIT:
        sys.exit(f"RAM disk: {path} would be {len(content)} bytes, more than {LIMIT}")
    part = path + ".part"
    with open(part, "wb") as f:
        f.write(content)
    os.rename(part, path)
    print(f"RAM disk: {os.path.relpath(path)} {len(content) / 1e6:.1f} MB")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--kernel", required=True, help="folder with lib/modules of dom0's kernel")
    p.add_argument("--guest", required=True, help="the same for the domU's")
    p.add_argument("--guest-kernel", required=True, help="the domU's kernel image")
    p.add_argument("--product", required=True, help="folder with our built programs")
    p.add_argument("--frontends", required=True, help="folder with our modules, built for the domU's kernel")
    p.add_argument("--tools", choices=["domus", "xen"], default="domus")
    p.add_argument("--out", required=True, help="folder for the RAM disks")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    domu_image = domu(a.guest, a.frontends)
    save(f"{a.out}/domu.img", domu_image)
    driver_image = driver_domain(a.guest, a.frontends, a.product) if a.tools == "domus" else b""
    save(f"{a.out}/dom0-{a.tools}.img", dom0(a.kernel, a.product, a.tools, a.guest_kernel, domu_image, driver_image))


main()
