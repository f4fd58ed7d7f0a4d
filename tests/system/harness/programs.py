"""Programs of this machine, with the libraries they load, for dom0 and for guests."""
import os
import subprocess

from contents import add_program
from cpio import Tree


def programs(*paths):
    """Path in dom0 -> path here, for Dom0(files=...)."""
    files = {}
    for path in paths:
        files[path] = path
        listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        files.update({word: os.path.realpath(word) for word in listed.split() if word.startswith("/") and ".so" in word})
    return files


def guest_image(host, name, *paths):
    """The domU's RAM disk with the programs in addition: its path here."""
    tree = Tree()
    for path in paths:
        add_program(tree, path)
    image = os.path.join(host.work, f"{name}.img")
    with open(image, "wb") as out:
        out.write(tree.pack_behind(os.path.join(os.path.dirname(host.settings.dom0_image()), "domu.img")))
    return image
