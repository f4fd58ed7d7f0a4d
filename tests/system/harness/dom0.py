"""A booted dom0 with a shell on its console, for tests: run commands, write files, create and watch guests.

One command at a time. The shell has no echo and no prompt (domus.console=shell), each command's output stands
between two marks that carry its number, so lines of the hypervisor's log in between do no harm.
"""
import json
import os
import re

import qemu
from cpio import append

from .machine import Failure, Machine
from .typist import Typist

BOOT_LIMIT = 900  # seconds; about 20 alone under TCG, more on a busy machine
LOG_LINE = re.compile(r"^\((XEN|domus)\).*\n?", re.MULTILINE)


class Result:
    def __init__(self, command, status, output):
        self.command, self.status, self.output = command, status, output

    def __repr__(self):
        return f"`{self.command}` ended with {self.status} and said:\n{self.output}"


class Dom0:
    def __init__(self, settings, work, name="dom0", options="", files=None, hypervisor_options=""):
        """files: path in dom0 -> path here or bytes, added to the RAM disk. work: folder for consoles."""
        os.makedirs(work, exist_ok=True)
        self.settings = settings
        self.tool_name = "xl" if settings.tools == "xen" else "domus"
        self._number = 0
        self._image = None
        image = settings.dom0_image()
        if files:
            self._image = image = os.path.join(work, f"{name}.img")
            append(settings.dom0_image(), image, files)
        command = qemu.boot_hypervisor(settings, f"domus.console=shell {options}",
                                       f"loglvl=warning guest_loglvl=warning {hypervisor_options}", image)
        self.machine = Machine(command, os.path.join(work, f"{name}.console"))
        try:
            self.machine.wait_for("dom0: shell ready", BOOT_LIMIT)
            self._type = Typist(self.machine).type if settings.hypervisor == "xen" else self.machine.send
            # xl refuses to create anything until xen-init-dom0 has named the pool of CPUs.
            self.until("xl cpupool-list" if self.tool_name == "xl" else f"{self.tool_name} list", 60)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.machine.stop()
        if self._image and os.path.exists(self._image):
            os.remove(self._image)

    # --- commands -------------------------------------------------------------------------------------------------

    def run(self, command, seconds=60):
        """Runs a shell command; its stdin is empty, stdout and stderr are one."""
        self._number += 1
        mark, start = self._number, self.machine.position()
        self._type(f'echo "<begin-$(({mark}))>"\n{{\n{command}\n}} </dev/null 2>&1\necho "<end-$(({mark})):$?>"\n')
        try:
            end = self.machine.wait_for(rf"<end-{mark}:(\d+)>", seconds, start)
        except Failure as problem:
            raise Failure(f"`{command}`: {problem}") from None
        text = self.machine.console(start)
        begin = text.find(f"<begin-{mark}>\n")
        if begin < 0:
            raise Failure(f"`{command}`: the shell's answer has no beginning")
        output = text[begin + len(f"<begin-{mark}>\n"):end.start() - start]
        return Result(command, int(end.group(1)), LOG_LINE.sub("", output))

    def ok(self, command, seconds=60):
        """The output of a command that has to end with status 0."""
        result = self.run(command, seconds)
        if result.status != 0:
            raise Failure(repr(result))
        return result.output

    def refused(self, command, seconds=60):
        """The output of a command that has to fail (but not by crashing)."""
        result = self.run(command, seconds)
        if result.status == 0 or result.status >= 126:
            raise Failure(f"should have been refused: {result!r}")
        return result.output

    def until(self, command, seconds=60):
        """Repeats a command until it ends with 0; fails when it never does within the time."""
        result = self.run(f"end=$(($(cut -d. -f1 /proc/uptime) + {seconds}))\n"
                          f"until {{ {command}; }} >/tmp/until 2>&1; do\n"
                          "[ $(cut -d. -f1 /proc/uptime) -lt $end ] || { cat /tmp/until; break; }; sleep 0.5; done\n"
                          "[ $(cut -d. -f1 /proc/uptime) -lt $end ]", seconds + 120)
        if result.status != 0:
            raise Failure(f"still not true after {seconds} s: {command}\n{result.output}")

    def tool(self, arguments, seconds=120):
        return self.ok(f"{self.tool_name} {arguments}", seconds)

    def log(self):
        """The lines of the hypervisor's log. They are marked on their way: run() takes them out of what a command prints."""
        self.tool("dmesg >/tmp/hypervisor.log")
        lines = self.ok("sed 's/^/> /' /tmp/hypervisor.log").splitlines()
        if not lines:
            raise Failure("the hypervisor's log is empty")
        return lines

    def write(self, path, content):
        self.ok(f"cat >{path} <<'end-of-file'\n{content.rstrip()}\nend-of-file")

    # --- guests ---------------------------------------------------------------------------------------------------

    def guest(self, name, options="", **keys):
        """Writes a guest's configuration and creates it. options: kernel command line after the usual.
        keys: lines of the configuration, as Python values (strings, numbers, lists of strings)."""
        path = self.config(name, options, **keys)
        self.tool(f"create {path}", 240)
        return name

    def config(self, name, options="", **keys):
        lines = {"name": name, "type": "pv", "kernel": "/boot/vmlinuz", "ramdisk": "/boot/domu.img",
                 "extra": f"console=hvc0 quiet panic=-1 domus.name={name} domus.console=shell {options}".strip(),
                 "memory": 160, "vcpus": 1, **keys}
        quote = lambda v: "[" + ", ".join(map(quote, v)) + "]" if isinstance(v, list) else \
            f'"{v}"' if isinstance(v, str) else str(v)
        self.write(f"/tmp/{name}.cfg", "\n".join(f"{k} = {quote(v)}" for k, v in lines.items() if v is not None))
        return f"/tmp/{name}.cfg"

    def disk(self, path, mib=16):
        """A disk for a guest: an image file, or a loop device where the tool has none of its own."""
        self.ok(f"truncate -s {mib}M {path}")
        if self.tool_name == "xl":
            device = self.ok(f"losetup -f && losetup -f {path}").strip()
            return f"phy:{device}"
        return path

    def in_guest(self, name, command, seconds=60):
        """Output of a command run in a guest's console shell."""
        return self.ok(f"/usr/lib/domus/guest-run {name} {seconds} '{command}'", seconds + 60)

    def wait_guest(self, name, seconds=120):
        """Until the guest answers on its console."""
        self.until(f"[ \"$(/usr/lib/domus/guest-run {name} 5 'echo up')\" = up ]", seconds)

    def domains(self):
        """Names of the guests, without dom0."""
        rows = self.tool("list").splitlines()[1:]
        return [row.split()[0] for row in rows if row.split() and row.split()[1] != "0"]

    def wait_gone(self, name, seconds=60):
        # A dying domain is listed without its name until whoever maps its memory lets go.
        self.until(f"! {self.tool_name} list | grep -qE '^({name}|[(]null[)]) '", seconds)

    def domid(self, name):
        return int(self.tool(f"list | awk '$1 == \"{name}\" {{ print $2 }}'").strip())

    def figures(self, name, device):
        """The figures of a guest's device, by name."""
        ring = json.loads(self.tool(f"ring {name} {device} --json"))
        return {figure["name"]: int(figure["value"]) for figure in ring["figures"]}

    def free_memory(self):
        """Free memory of the hypervisor, as exact as the tool says it (Domus: KiB, so every frame counts; xl: MiB)."""
        if self.tool_name == "xl":
            return int(self.tool("info | sed -n 's/^free_memory *: //p'"))
        return int(json.loads(self.tool("info --json"))["free_memory_kib"])

    def clean(self):
        """Destroys what a test left; returns its names."""
        left = self.domains()
        for name in left:
            self.run(f"{self.tool_name} destroy {name}", 60)
        return left
