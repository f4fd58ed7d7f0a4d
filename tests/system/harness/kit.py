"""A guest as `domus new-guest` writes it, generated and built here."""
import os
import shutil
import subprocess

import qemu
from cpio import below

from .machine import Failure


def new_guest(folder, name):
    """Its files as `make run FILES=NAME` gives them to dom0: path there (/root/NAME/...) -> path here."""
    os.makedirs(folder, exist_ok=True)
    shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    program = os.path.join(qemu.BUILD, "product", "toolstack", "cli", "domus")
    for command in ([program, "new-guest", name], ["make", "-s", "-C", name]):
        result = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0 or result.stderr:
            raise Failure(f"{' '.join(command)}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return below("/root", [os.path.join(folder, name)])
