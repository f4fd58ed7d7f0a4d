"""Programs of this machine, with the libraries they load, as files for Dom0(files=...)."""
import os
import subprocess


def programs(*paths):
    """Path in dom0 -> path here."""
    files = {}
    for path in paths:
        files[path] = path
        listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        files.update({word: os.path.realpath(word) for word in listed.split() if word.startswith("/") and ".so" in word})
    return files
