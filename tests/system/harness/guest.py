"""The domU's RAM disk with programs in addition, for a guest to start from."""
import os
import subprocess

from contents import add_program
from cpio import Tree

PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


def image_with(host, name):
    """With programs/NAME.c, as the static program /NAME: its path here."""
    program, tree = f"{host.work}/{name}", Tree()
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o", program, f"{PROGRAMS}/{name}.c"],
                   check=True)
    tree.copy(program, f"/{name}", 0o755)
    return _behind_domu(host, name, tree)


def image_with_installed(host, name, *paths):
    """With programs of this machine and the libraries they load, where they are here: its path here."""
    tree = Tree()
    for path in paths:
        add_program(tree, path)
    return _behind_domu(host, name, tree)


def _behind_domu(host, name, tree):
    image = f"{host.work}/{name}.img"
    with open(image, "wb") as out:
        out.write(tree.pack_behind(os.path.join(os.path.dirname(host.settings.dom0_image()), "domu.img")))
    return image
