"""The dependency check: which folder may include which, read from `#include` lines. Arrows point down only.

RULES is the house's plan as a table (docs/map.md draws it). A folder may include itself and what stands behind it;
the longest matching folder decides, so a sub-folder may be held to less than its parent. FORBIDDEN names system
headers a folder must not use even if they compile.
"""
import os
import re

RULES = {
    "hypervisor/abi": [],
    "hypervisor/base": ["hypervisor/abi"],
    "hypervisor/arch/iface": ["hypervisor/base", "hypervisor/abi"],
    "hypervisor/core": ["hypervisor/base", "hypervisor/abi", "hypervisor/arch/iface"],
    "hypervisor/pv": ["hypervisor/core", "hypervisor/base", "hypervisor/abi", "hypervisor/arch/iface"],
    # Implements iface; traps and interrupts arrive here and are handed to core and pv.
    "hypervisor/arch/x86_64": ["hypervisor/arch/iface", "hypervisor/core", "hypervisor/pv", "hypervisor/base",
                               "hypervisor/abi"],
    # Kernel images: shared by dom0's builder and the toolstack's, so it knows of neither.
    "hypervisor/boot/image": ["hypervisor/base", "hypervisor/abi"],
    # Composes the whole: it starts the machine, then core and pv, then builds dom0 from an image.
    "hypervisor/boot": ["hypervisor/arch/iface", "hypervisor/arch/x86_64", "hypervisor/core", "hypervisor/pv",
                        "hypervisor/base", "hypervisor/abi", "hypervisor/boot/image"],
    "hypervisor/client": ["hypervisor/abi", "hypervisor/base"],
    "xenstore-lite/wire": [],
    "xenstore-lite/tree": ["xenstore-lite/wire"],
    "xenstore-lite/server": ["xenstore-lite/wire", "xenstore-lite/tree", "hypervisor/client"],
    "xenstore-lite/client": ["xenstore-lite/wire"],
    "backend-drivers/common": ["xenstore-lite/client", "hypervisor/client", "hypervisor/base"],
    "backend-drivers": ["backend-drivers/common", "xenstore-lite/client", "hypervisor/client", "hypervisor/base"],
    "frontend-drivers/guestkit": ["hypervisor/abi", "hypervisor/base"],
    "toolstack/model": [],
    "toolstack/proto": ["toolstack/model"],
    "toolstack/build": ["hypervisor/client", "hypervisor/boot/image", "hypervisor/base", "toolstack/model"],
    # abi: domus.h alone, the plain C header of the hypervisor's extensions, made for programs.
    "toolstack/engine": ["toolstack/model", "toolstack/build", "hypervisor/client", "hypervisor/abi",
                         "xenstore-lite/client"],
    "toolstack/daemon": ["toolstack/engine", "toolstack/build", "toolstack/model", "toolstack/proto",
                         "hypervisor/client", "xenstore-lite/client"],
    "toolstack/cli": ["toolstack/model", "toolstack/proto", "xenstore-lite/client"],
}

# One file may look where its folder may not; each with its reason.
EXCEPTIONS = {
    # A lock that spins must go on serving other CPUs' flush requests.
    ("hypervisor/base/guarded.hpp", "hypervisor/arch/iface/cpu.hpp"),
    # The world switch names the vcpu it switches to.
    ("hypervisor/arch/iface/context.hpp", "hypervisor/core/vcpu.hpp"),
    # Figures of our backends are read by those who define their file.
    ("toolstack/engine/linux_figures.cpp", "backend-drivers/common/stats.hpp"),
    # `create -c` attaches as the console daemon's own client does.
    ("toolstack/cli/verbs_create.cpp", "backend-drivers/console/attach.hpp"),
    # The daemon listens where clients look: it takes default_socket() from them, nothing else.
    ("xenstore-lite/server/main.cpp", "xenstore-lite/client/client.hpp"),
    # Reads the one configuration file it was given; everything behind it works on text.
    ("toolstack/model/config.cpp", "filesystem"),
    ("toolstack/model/config.cpp", "fstream"),
}

HOSTED = r"boost/|fmt/|spdlog/|sys/|unistd\.h|iostream|thread|mutex|filesystem|fstream"
IO = r"boost/asio|sys/socket|sys/mman|unistd\.h|fstream|filesystem"
FORBIDDEN = {
    "hypervisor/abi": HOSTED, "hypervisor/base": HOSTED, "hypervisor/arch": HOSTED, "hypervisor/core": HOSTED,
    "hypervisor/pv": HOSTED, "hypervisor/boot": HOSTED, "frontend-drivers/guestkit": HOSTED,
    "xenstore-lite/wire": IO, "xenstore-lite/tree": IO, "toolstack/model": IO,
}

PARTS = ("hypervisor", "guest-patches", "xenstore-lite", "backend-drivers", "frontend-drivers", "toolstack", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def folder_of(path, table):
    """The longest folder of the table that holds this path, or None."""
    best = None
    for folder in table:
        if (path == folder or path.startswith(folder + "/")) and (best is None or len(folder) > len(best)):
            best = folder
    return best


def includes(path):
    with open(path, errors="replace") as f:
        for number, line in enumerate(f, start=1):
            match = INCLUDE.match(line)
            if match:
                yield number, match.group(1)


def verdict(path, target):
    """Why this include is not allowed, or None."""
    if (path, target) in EXCEPTIONS:
        return None
    if target.split("/")[0] not in PARTS:
        pattern = FORBIDDEN.get(folder_of(path, FORBIDDEN))
        if pattern and re.match(pattern, target):
            return f"<{target}> is not for this folder"
        return None
    if target.startswith("tests/"):
        return "only tests include tests"
    home, other = folder_of(path, RULES), folder_of(target, RULES)
    if home is None:
        return f"{os.path.dirname(path)} has no rule; add one to tests/lint/dependencies.py"
    if other == home or folder_of(target, RULES[home]):
        return None
    return f"{home} may not include {other or os.path.dirname(target)}"


def check(files):
    """Messages for the sources among `files` (paths from the top). Tests may include what they test."""
    for path in files:
        if not path.endswith((".hpp", ".cpp", ".h", ".c", ".S")) or path.startswith(("tests/", "labs/", "docs/")):
            continue
        for number, target in includes(path):
            problem = verdict(path, target)
            if problem:
                yield f"{path}:{number}: {problem} (#include {target})"
