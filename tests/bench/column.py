"""A column of the benchmarks' tables: on what a part's rows are measured, read from the command line. Pure values."""
import dataclasses
import os

import qemu


@dataclasses.dataclass
class Column:
    machine: str                # native, xen or domus
    kernel: str = ""            # a kernel image instead of Debian's: of guests, or of the bare machine
    hypervisor_options: str = ""
    parts: int = 2              # of the kernel's path in the title
    doubts: list = dataclasses.field(default_factory=list)  # what was measured but is not to be trusted, as text

    @staticmethod
    def parse(text):
        first, *options = text.split(",")
        machine, _, kernel = first.partition("=")
        if machine not in ("native", "xen", "domus"):
            raise ValueError(f"{text}: a column is native, xen or domus, with `=KERNEL` and `,option=value` behind it")
        if kernel and not os.path.isfile(kernel):
            raise ValueError(f"{text}: there is no kernel image {kernel}")
        if options and machine == "native":
            raise ValueError(f"{text}: the bare machine has no hypervisor that could take options")
        return Column(machine, kernel, " ".join(options))

    @property
    def native(self):
        return self.machine == "native"

    def named(self, parts):
        """The column's title, with the last `parts` parts of its kernel's path."""
        names = {"native": "native", "xen": "Xen 4.17", "domus": "Domus"}
        kernel = f" ({'/'.join(os.path.abspath(self.kernel).split('/')[-parts:])})" if self.kernel else ""
        return names[self.machine] + kernel + (f" {self.hypervisor_options}" if self.hypervisor_options else "")

    @property
    def title(self):
        # Images of make guest-kernel are all called vmlinuz; their folder says which one it is.
        return self.named(self.parts)

    @staticmethod
    def tell_apart(columns):
        """Gives columns whose titles are the same more of their kernels' paths. ValueError: they are the same column."""
        for column in columns:
            longest = len(os.path.abspath(column.kernel).split("/"))
            others = [c for c in columns if c is not column]
            column.parts = next((n for n in range(2, longest + 1)
                                 if column.named(n) not in [c.named(n) for c in others]), None)
            if column.parts is None:
                raise ValueError(f"{column.named(2)} is named twice among the columns")

    def settings(self, **changes):
        """QEMU's settings; dom0 always runs Debian's kernel."""
        own = {"kernel": self.kernel} if self.native and self.kernel else {}
        return qemu.Settings.from_environment(hypervisor="domus" if self.native else self.machine, tools="",
                                              **{**own, **changes})
