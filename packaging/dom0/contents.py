"""Finds what a RAM disk needs beside the files named: kernel modules with their dependencies in load order, and
programs with their shared libraries. Called by build.py; writes into a Tree only.
"""
import functools
import glob
import os
import subprocess
import sys
import tempfile


def add_modules(tree, kernel, names):
    """Puts the modules and what they depend on into /lib/domus/modules, and their load order into `order` there."""
    (base,) = glob.glob(f"{kernel}/lib/modules/*")
    depends = {}  # module name -> (path, paths it depends on)
    with open(f"{base}/modules.dep") as index:
        for line in index:
            path, _, needs = line.partition(":")
            depends[_module_name(path)] = (path, needs.split())
    with open(f"{base}/modules.builtin") as index:
        builtin = {_module_name(line.strip()) for line in index}
    order = []

    def need(name):
        if name in builtin:
            return
        if name not in depends:
            sys.exit(f"RAM disk: the kernel in {kernel} has no module {name}")
        path, needs = depends[name]
        for other in reversed(needs):
            need(_module_name(other))
        if path not in order:
            order.append(path)

    for name in names:
        need(name.replace("-", "_"))
    for path in order:
        tree.copy(f"{base}/{path}", f"/lib/domus/modules/{os.path.basename(path)}", 0o644)
    tree.file("/lib/domus/modules/order", "".join(os.path.basename(p) + "\n" for p in order).encode())


def add_our_modules(tree, folder, names):
    """Puts modules of our own beside the kernel's, and their load order into `order-domus`. They need no others."""
    for name in names:
        path = os.path.join(folder, f"{name}.ko")
        if not os.path.exists(path):
            sys.exit(f"RAM disk: {path} is not built; run `make frontends`")
        tree.file(f"/lib/domus/modules/{name}.ko", _stripped(path, "--strip-debug"), 0o644)
    tree.file("/lib/domus/modules/order-domus", "".join(f"{name}.ko\n" for name in names).encode())


def _module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def add_program(tree, source, path=None):
    """Puts a program (without debug information) and the shared libraries it loads into the tree."""
    tree.file(path or source, _stripped(source), 0o755)
    for library in _libraries(source):
        if library not in tree:
            tree.file(library, _stripped(os.path.realpath(library)), 0o755)


@functools.lru_cache(maxsize=None)
def _stripped(source, how="--strip-all"):
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "stripped")
        # A script is no object file: take it as it is.
        if subprocess.run(["strip", how, "-o", out, source], stderr=subprocess.DEVNULL).returncode != 0:
            out = source
        with open(out, "rb") as f:
            return f.read()


def _libraries(source):
    answer = subprocess.run(["ldd", source], capture_output=True, text=True)
    if "not found" in answer.stdout:
        sys.exit(f"RAM disk: {source} needs a library that is not installed:\n{answer.stdout}")
    return sorted({word for word in answer.stdout.split() if word.startswith("/") and ".so" in word})


def find_program(folder, name):
    """The executable of this name anywhere below a build folder, or None."""
    for base, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f != "CMakeFiles"]
        candidate = os.path.join(base, name)
        if name in files and os.access(candidate, os.X_OK):
            return candidate
    return None
