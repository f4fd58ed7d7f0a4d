"""Guests with a program of a test's own in them."""
import os
import subprocess

from cpio import Tree

PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


def image_with(host, name):
    """The domU's RAM disk with programs/NAME.c in addition, as the static program /NAME: its path here."""
    program, image = f"{host.work}/{name}", f"{host.work}/{name}.img"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o", program, f"{PROGRAMS}/{name}.c"],
                   check=True)
    tree = Tree()
    tree.copy(program, f"/{name}", 0o755)
    with open(image, "wb") as out:
        out.write(tree.pack_behind(os.path.join(os.path.dirname(host.settings.dom0_image()), "domu.img")))
    return image
