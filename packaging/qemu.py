"""The QEMU command line of the machine under test, from the user's settings. Used by `make run`, the system tests
and the benchmarks, so that all of them start the same machine. Starts nothing itself.

Settings come from the environment (the Makefile passes its variables on):
  HYPERVISOR  domus (default), xen, or the path of a multiboot image
  ACCEL       auto (default), kvm, tcg      CPUS, MEM (MiB), DOM0_MEM (MiB)
  KERNEL      Debian package of the kernel, patched (`make guest-kernel`), or the path of a kernel image (modules of
              the last two: the default kernel's)      DOM0_KERNEL  dom0's, if it is another
  TOOLS       dom0's programs: domus (default; Debian's if HYPERVISOR=xen) or xen
"""
import dataclasses
import os
import shutil

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("DOMUS_BUILD", os.path.join(ROOT, "build"))
CONSOLE = "com1=115200,8n1 console=com1"


class Missing(Exception):
    """Something that has to be built or fetched first; the message says how."""


@dataclasses.dataclass
class Settings:
    hypervisor: str = "domus"
    tools: str = ""
    accel: str = "auto"
    cpus: int = 1
    mem: int = 2048
    dom0_mem: int = 768
    kernel: str = "linux-image-amd64"
    dom0_kernel: str = ""
    icount: bool = False
    plugin: str = ""  # a TCG plugin and its arguments, with icount

    @staticmethod
    def from_environment(**changes):
        """`changes` win over the environment, which wins over the defaults."""
        given = {}
        for field in dataclasses.fields(Settings):
            text = os.environ.get(field.name.upper(), "")
            if text and field.name not in ("icount", "plugin"):
                given[field.name] = number(field.name.upper(), text) if field.type is int else text
        result = Settings(**{**given, **changes})
        result.tools = result.tools or ("xen" if result.hypervisor == "xen" else "domus")
        return result

    def hypervisor_image(self):
        names = {"domus": f"{BUILD}/domus.elf", "xen": f"{BUILD}/cache/xen/xen.elf"}
        return existing(names.get(self.hypervisor, self.hypervisor), "the hypervisor", "make HYPERVISOR=domus|xen")

    def dom0_kernel_image(self):
        return kernel_image(self.dom0_kernel or self.kernel)

    def dom0_image(self):
        return existing(f"{BUILD}/images/dom0-{self.tools}.img", "dom0's RAM disk", "make")


def kernel_image(kernel):
    if os.path.isfile(kernel):
        return kernel
    if kernel == "patched":
        return existing(f"{BUILD}/guest-kernel/patched-small/vmlinuz", "the guest kernel", "make guest-kernel")
    return existing(f"{BUILD}/cache/kernel/{kernel}/vmlinuz", "the kernel", "make kernel")


def number(name, text):
    try:
        value = int(text)
    except ValueError:
        raise Missing(f"{name}={text}: a whole number is needed")
    if value < 1:
        raise Missing(f"{name}={text}: has to be at least 1")
    return value


def existing(path, what, remedy):
    if not os.path.exists(path):
        raise Missing(f"{what} is missing: {path} (run `{remedy}`)")
    return path


def accelerator(wanted, hypervisor=""):
    """QEMU's arguments for the processor. KVM only where the CPU has the feature and the device opens: the device
    alone can exist on a machine that cannot use it."""
    if wanted not in ("auto", "kvm", "tcg"):
        raise Missing(f"ACCEL={wanted}: has to be auto, kvm or tcg")
    if wanted == "kvm" or (wanted == "auto" and kvm_works()):
        return ["-accel", "kvm", "-cpu", "host"]
    # Without SMAP: this emulator reads iretq's stack as a supervisor access even in ring 3, so that a PV kernel
    # would fault at its first return. The model may be changed, but not that.
    # Without XSAVE under Xen: there programs of a busy dom0 lose register contents from one switch to the next, and
    # the C library's string functions spoil the heap.
    model = "max,-smap,-xsave,-avx,-avx2" if hypervisor == "xen" else "max,-smap"
    return ["-accel", "tcg", "-cpu", os.environ.get("TCG_CPU", model)]


def kvm_works():
    with open("/proc/cpuinfo") as f:
        flags = f.read().split()
    if "vmx" not in flags and "svm" not in flags:
        return False
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
        return True
    except OSError:
        return False


def machine(settings):
    """The machine without what it boots: processor, memory, no network of its own, power-off ends QEMU."""
    program = shutil.which("qemu-system-x86_64")
    if not program:
        raise Missing("qemu-system-x86_64 is missing (run `make packages`)")
    args = [program, "-nodefaults", "-display", "none", "-vga", "std", "-no-reboot",
            "-m", str(settings.mem), "-smp", str(settings.cpus),
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if settings.icount:
        # One instruction is one nanosecond: figures repeat, whatever else the machine does.
        args += ["-plugin", settings.plugin] if settings.plugin else []
        return args + ["-accel", "tcg", "-cpu", os.environ.get("TCG_CPU", "max,-smap"), "-icount", "shift=0,sleep=off"]
    return args + accelerator(settings.accel, settings.hypervisor)


def boot_hypervisor(settings, dom0_options="", hypervisor_options="", dom0_image=None):
    """The whole machine: hypervisor, dom0's kernel and RAM disk by multiboot."""
    kernel, disk = settings.dom0_kernel_image(), dom0_image or settings.dom0_image()
    return machine(settings) + [
        "-kernel", settings.hypervisor_image(),
        "-append", f"dom0_mem={settings.dom0_mem}M {CONSOLE} {hypervisor_options}".strip(),
        "-initrd", f"{kernel} console=hvc0 quiet panic=-1 {dom0_options},{disk}"]


def boot_native(settings, options, disk):
    """The kernel on the bare machine, as the benchmarks' first column."""
    return machine(settings) + ["-kernel", kernel_image(settings.kernel), "-initrd", disk,
                                "-append", f"console=ttyS0 quiet panic=-1 {options}"]
