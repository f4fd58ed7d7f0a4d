"""A file tree in memory, written as a reproducible RAM disk (cpio "newc", gzip).

Called by build.py, and by who starts a dom0 with files of his own. Does no planning: what goes in is decided there. The same content always gives the same
bytes: entries are sorted, owners and times are zero, and no inode or host name of the build machine gets in.
It needs no privilege, because device nodes are only written down, never made.
"""
import gzip
import io
import os
import stat


class Tree:
    def __init__(self):
        self._entries = {}  # path without leading slash -> (mode, content, device major and minor)

    def __contains__(self, path):
        return path.strip("/") in self._entries

    def directory(self, path):
        path = path.strip("/")
        if path and path not in self._entries:
            self.directory(os.path.dirname(path))
            self._entries[path] = (stat.S_IFDIR | 0o755, b"", (0, 0))

    def _put(self, path, entry):
        self.directory(os.path.dirname(path.strip("/")))
        self._entries[path.strip("/")] = entry

    def file(self, path, content, mode=0o644):
        self._put(path, (stat.S_IFREG | mode, content, (0, 0)))

    def copy(self, source, path, mode=None):
        """Takes a file in; its executable bit decides the mode unless one is given."""
        with open(source, "rb") as f:
            self.file(path, f.read(), mode or (0o755 if os.access(source, os.X_OK) else 0o644))

    def overlay(self, folder):
        """Takes in a whole folder; later overlays win."""
        for base, folders, files in os.walk(folder):
            inside = os.path.relpath(base, folder)
            for name in folders:
                self.directory(os.path.normpath(os.path.join(inside, name)))
            for name in files:
                self.copy(os.path.join(base, name), os.path.normpath(os.path.join(inside, name)))

    def symlink(self, path, target):
        self._put(path, (stat.S_IFLNK | 0o777, target.encode(), (0, 0)))

    def character_device(self, path, major, minor, mode=0o600):
        self._put(path, (stat.S_IFCHR | mode, b"", (major, minor)))

    def pack(self, level=6):
        """The RAM disk's bytes."""
        return gzip.compress(self._archive(), level, mtime=0)

    def pack_behind(self, image):
        """The bytes of the RAM disk in the file `image` with this one's contents in addition, as one gzip stream: of
        several, Xen's domain builder unpacks only the first."""
        with gzip.open(image) as file:
            first = file.read()
        return gzip.compress(first + b"\0" * (-len(first) % 4) + self._archive(), 1, mtime=0)

    def _archive(self):
        raw = io.BytesIO()
        for number, path in enumerate(sorted(self._entries), start=1):
            _write_entry(raw, number, path, *self._entries[path])
        _write_entry(raw, 0, "TRAILER!!!", 0, b"", (0, 0))
        return raw.getvalue()


def below(folder, paths):
    """For append(): files, and folders with all that is in them, put into `folder` under their own names."""
    files = {}
    for path in map(os.path.abspath, paths):
        inside = os.path.join(folder, os.path.basename(path))
        if not os.path.isdir(path):
            files[inside] = path
        for base, _, names in os.walk(path):
            to = os.path.normpath(os.path.join(inside, os.path.relpath(base, path)))
            files.update({os.path.join(to, name): os.path.join(base, name) for name in names})
    return files


def append(image, out, files):
    """Writes the RAM disk `image` with more files to `out`: the kernel unpacks one archive after the other.
    files: path in it -> path of a file here, or bytes."""
    tree = Tree()
    for path, source in files.items():
        if isinstance(source, bytes):
            tree.file(path, source, 0o755)
        else:
            tree.copy(source, path)
    with open(image, "rb") as f:
        content = f.read()
    with open(out, "wb") as f:
        f.write(content + b"\0" * (-len(content) % 4) + tree.pack(1))


def _write_entry(out, number, path, mode, content, device):
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name), 0)
    out.write(b"070701" + b"".join(b"%08X" % f for f in fields) + name)
    out.write(b"\0" * (-out.tell() % 4) + content)
    out.write(b"\0" * (-out.tell() % 4))
