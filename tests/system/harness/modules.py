"""Modules of dom0's kernel that its RAM disk does not have, as files for Dom0(files=...)."""
import os

import qemu


def module_files(settings, folder, names):
    """The named modules and what they need in a folder of dom0's, and their load order in `order` there. A module that
    another asks for by name only (an algorithm) has to be named, before it."""
    package = settings.dom0_kernel or settings.kernel
    cache = os.path.join(qemu.BUILD, "cache", "kernel")
    kernel = os.path.join(cache, package if os.path.isdir(os.path.join(cache, package)) else "linux-image-amd64")
    modules = os.path.join(kernel, "lib", "modules", os.listdir(os.path.join(kernel, "lib", "modules"))[0])
    with open(f"{modules}/modules.dep") as index:
        lines = index.readlines()
    # A line names a module, then what it needs, the innermost last.
    order = [path for name in names for line in lines if line.partition(":")[0].endswith(f"/{name}.ko")
             for path in line.replace(":", "").split()[::-1]]
    order = list(dict.fromkeys(order))
    assert len(order) >= len(names), order
    return {**{f"{folder}/{os.path.basename(path)}": f"{modules}/{path}" for path in order},
            f"{folder}/order": "".join(os.path.basename(path) + "\n" for path in order).encode()}


def load(dom0, folder):
    dom0.ok(f"for m in $(cat {folder}/order); do grep -q \"^$(basename $m .ko | tr - _) \" /proc/modules || "
            f"insmod {folder}/$m || exit 1; done", 120)
