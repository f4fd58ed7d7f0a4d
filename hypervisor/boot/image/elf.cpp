// ELF64 PV kernels: headers, segments, judgement of the notes. Pure functions over a hostile file; see image.hpp.
#include "hypervisor/boot/image/notes.hpp"
#include "hypervisor/boot/image/view.hpp"

#include <elf.h>

namespace domus::image {
namespace {

constexpr u64 max_program_headers = 64, max_sections = 4096;
constexpr u64 max_physical = u64{1} << 40; // no kernel is loaded above 1 TiB of its own memory
constexpr u64 hole_start = 0xffff800000000000, hole_end = 0xffff880000000000; // L4 slots 256 to 271

Expected<Elf64_Ehdr> read_header(Bytes elf) {
    if (!holds<Elf64_Ehdr>(elf, 0))
        return fail("ELF header is cut short: the file has ", u64{elf.size()}, " bytes");
    const auto header = load<Elf64_Ehdr>(elf, 0);
    if (__builtin_memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return fail("not an ELF file: magic number at offset 0 is wrong");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB)
        return fail("not a kernel for 64-bit x86: ELF class ", u64{header.e_ident[EI_CLASS]}, ", machine ",
                    u64{header.e_machine}, " at offset 0x12");
    if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
        return fail("ELF type ", u64{header.e_type}, " at offset 0x10 is not an executable");
    if (header.e_phnum == 0 || header.e_phnum > max_program_headers || header.e_phentsize != sizeof(Elf64_Phdr))
        return fail("ELF header has ", u64{header.e_phnum}, " program headers of ", u64{header.e_phentsize},
                    " bytes: 1 to ", max_program_headers, " of 56 are supported");
    if (!fits(header.e_phoff, u64{header.e_phnum} * sizeof(Elf64_Phdr), elf.size()))
        return fail("ELF program headers at offset ", Hex{header.e_phoff}, " lie outside the file");
    return header;
}

Elf64_Phdr program_header(Bytes elf, const Elf64_Ehdr& header, unsigned index) {
    return load<Elf64_Phdr>(elf, header.e_phoff + u64{index} * sizeof(Elf64_Phdr));
}

// Section headers are optional: none, when the table is absent or does not fit.
unsigned section_count(Bytes elf, const Elf64_Ehdr& header) {
    const bool usable = header.e_shentsize == sizeof(Elf64_Shdr) && header.e_shnum <= max_sections &&
                        fits(header.e_shoff, u64{header.e_shnum} * sizeof(Elf64_Shdr), elf.size());
    return usable ? header.e_shnum : 0;
}

Elf64_Shdr section(Bytes elf, const Elf64_Ehdr& header, unsigned index) {
    return load<Elf64_Shdr>(elf, header.e_shoff + u64{index} * sizeof(Elf64_Shdr));
}

bool has_legacy_section(Bytes elf, const Elf64_Ehdr& header) {
    constexpr char name[] = "__xen_guest";
    const unsigned count = section_count(elf, header);
    if (header.e_shstrndx >= count)
        return false;
    const auto names = section(elf, header, header.e_shstrndx);
    for (unsigned i = 0; i < count; ++i) {
        const auto at = checked_add(names.sh_offset, section(elf, header, i).sh_name);
        if (at && fits(*at, sizeof name, elf.size()) && __builtin_memcmp(elf.data() + *at, name, sizeof name) == 0)
            return true;
    }
    return false;
}

Expected<Notes> find_notes(Bytes elf, const Elf64_Ehdr& header, Kernel& kernel) {
    Notes notes;
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        const auto program = program_header(elf, header, i);
        if (program.p_type == PT_NOTE)
            TRY(read_notes(elf, program.p_offset, program.p_filesz, notes, kernel));
    }
    for (unsigned i = 0; notes.count == 0 && i < section_count(elf, header); ++i) {
        const auto part = section(elf, header, i);
        if (part.sh_type == SHT_NOTE)
            TRY(read_notes(elf, part.sh_offset, part.sh_size, notes, kernel));
    }
    if (notes.count == 0 && has_legacy_section(elf, header))
        return fail("kernel describes itself in a __xen_guest section, which is not supported: ELF notes are needed");
    if (notes.count == 0)
        return fail("not a PV kernel: it has no Xen ELF notes; build with CONFIG_XEN_PV");
    if (!notes.entry)
        return fail("not a PV kernel: ELF note XEN_ELFNOTE_ENTRY is missing; build with CONFIG_XEN_PV");
    return notes;
}

Expected<Segment> place(Bytes elf, const Elf64_Phdr& program, const Kernel& kernel) {
    if (program.p_filesz > program.p_memsz || !fits(program.p_offset, program.p_filesz, elf.size()))
        return fail("ELF segment at offset ", Hex{program.p_offset}, " with ", u64{program.p_filesz},
                    " bytes does not fit in the file or in its own memory: the file is cut short or damaged");
    const u64 physical = program.p_paddr - kernel.paddr_offset;
    if (program.p_paddr < kernel.paddr_offset || !fits(physical, program.p_memsz, max_physical))
        return fail("ELF segment at physical address ", Hex{program.p_paddr}, " with ", u64{program.p_memsz},
                    " bytes: not within 1 TiB from XEN_ELFNOTE_PADDR_OFFSET ", Hex{kernel.paddr_offset});
    const auto start = checked_add(kernel.virt_base, physical);
    const auto end = start ? checked_add(*start, program.p_memsz) : std::nullopt;
    if (!end || !is_canonical(*start) || !is_canonical(*end - 1) || (*start ^ (*end - 1)) >> 63 != 0)
        return fail("ELF segment at physical address ", Hex{physical},
                    " ends outside the address space when mapped at "
                    "XEN_ELFNOTE_VIRT_BASE ",
                    Hex{kernel.virt_base});
    const bool in_hole = *end > hole_start && hole_end > *start;
    if (in_hole)
        return fail("ELF segment at ", Hex{*start}, " lies in the hypervisor's part of the address space (",
                    Hex{hole_start}, " to ", Hex{hole_end}, ")");
    return Segment{program.p_offset, program.p_filesz, program.p_memsz, *start, physical};
}

bool overlap(const Segment& a, const Segment& b) {
    return a.physical_address < b.physical_address + b.mem_size && b.physical_address < a.physical_address + a.mem_size;
}

Expected<bool> add_segment(Kernel& kernel, const Segment& segment) {
    if (kernel.segment_count == max_segments)
        return fail("kernel has more than ", u64{max_segments}, " ELF segments to load");
    for (const auto& other : kernel.loaded())
        if (overlap(other, segment))
            return fail("ELF segments at physical addresses ", Hex{other.physical_address}, " and ",
                        Hex{segment.physical_address}, " overlap");
    const u64 end = segment.virtual_address + segment.mem_size;
    const bool first = kernel.segment_count == 0;
    kernel.virt_start =
        first || segment.virtual_address < kernel.virt_start ? segment.virtual_address : kernel.virt_start;
    kernel.virt_end = first || end > kernel.virt_end ? end : kernel.virt_end;
    kernel.segments[kernel.segment_count++] = segment;
    return true;
}

Expected<bool> load_segments(Bytes elf, const Elf64_Ehdr& header, Kernel& kernel) {
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        const auto program = program_header(elf, header, i);
        if (program.p_type == PT_LOAD && program.p_memsz != 0)
            TRY(add_segment(kernel, TRY(place(elf, program, kernel))));
    }
    if (kernel.segment_count == 0)
        return fail("ELF file has nothing to load: no PT_LOAD program header");
    if (kernel.virt_end - kernel.virt_start > max_unpacked_size)
        return fail("kernel spans ", (kernel.virt_end - kernel.virt_start) >> 20, " MiB from ", Hex{kernel.virt_start},
                    ": more than ", max_unpacked_size >> 20);
    return true;
}

bool is_loaded(const Kernel& kernel, u64 address, u64 length) {
    for (const auto& segment : kernel.loaded())
        if (address >= segment.virtual_address && fits(address - segment.virtual_address, length, segment.mem_size))
            return true;
    return false;
}

Expected<bool> judge_addresses(const Kernel& kernel) {
    if (!is_loaded(kernel, kernel.entry, 1))
        return fail("ELF note XEN_ELFNOTE_ENTRY ", Hex{kernel.entry}, " is not inside a loaded segment");
    if (kernel.hypercall_page &&
        (!is_page_aligned(*kernel.hypercall_page) || !is_loaded(kernel, *kernel.hypercall_page, page_size)))
        return fail("ELF note XEN_ELFNOTE_HYPERCALL_PAGE ", Hex{*kernel.hypercall_page},
                    " is not a whole page inside a loaded segment");
    if (kernel.init_p2m && (!is_page_aligned(*kernel.init_p2m) || !is_canonical(*kernel.init_p2m) ||
                            (*kernel.init_p2m >= hole_start && *kernel.init_p2m < hole_end)))
        return fail("ELF note XEN_ELFNOTE_INIT_P2M ", Hex{*kernel.init_p2m}, " is not a page address a guest may use");
    if (kernel.hv_start_low && *kernel.hv_start_low > hole_start)
        return fail("ELF note XEN_ELFNOTE_HV_START_LOW ", Hex{*kernel.hv_start_low},
                    " is above the hypervisor's start at ", Hex{hole_start});
    return true;
}

} // namespace

Expected<Kernel> parse_elf(Bytes elf) {
    const auto header = TRY(read_header(elf));
    Kernel kernel;
    const auto notes = TRY(find_notes(elf, header, kernel));
    kernel.entry = *notes.entry;
    kernel.virt_base = notes.virt_base.value_or(0);
    kernel.paddr_offset = notes.paddr_offset.value_or(0);
    kernel.hypercall_page = notes.hypercall_page;
    kernel.init_p2m = notes.init_p2m;
    kernel.hv_start_low = notes.hv_start_low;
    TRY(load_segments(elf, header, kernel));
    TRY(judge_addresses(kernel));
    return kernel;
}

} // namespace domus::image
