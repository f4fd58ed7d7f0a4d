// The dom0 builder: unpack the kernel, give the domain memory, load, map, describe, enter. Runs once at boot.
#include "hypervisor/boot/dom0.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/base/checked.hpp"
#include "hypervisor/boot/dom0_layout.hpp"
#include "hypervisor/boot/image/image.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/page_types.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

using Bytes = std::span<u8>;

// Contiguous hypervisor memory for a while; with whatever was in it.
class Scratch {
public:
    explicit Scratch(u64 bytes) : bytes_(bytes) {
        while ((page_size << order_) < bytes)
            ++order_;
        if (bytes == 0)
            return;
        auto frames = allocate_frames_below(order_, 64);
        if (!frames)
            panic("dom0: {} bytes of contiguous memory are needed to unpack its kernel; give the machine more memory",
                  bytes);
        first_ = frames.value();
    }
    ~Scratch() {
        if (bytes_)
            free_frames(first_, order_);
    }
    Scratch(const Scratch&) = delete;
    Bytes bytes() const { return bytes_ ? Bytes(arch::frame_pointer(first_), bytes_) : Bytes(); }

private:
    u64 bytes_;
    u32 order_ = 0;
    Mfn first_{};
};

template <class T>
T must(image::Expected<T> result) {
    if (!result)
        panic("dom0's kernel: {}", result.error().message);
    return result.value();
}
template <class T>
T must(Result<T> result, std::string_view what) {
    if (!result)
        panic("dom0: {} failed with error {}", what, result.error());
    if constexpr (!std::is_void_v<T>)
        return static_cast<Result<T>&&>(result).value();
}

image::Bytes module_bytes(const BootModule& m) {
    return {arch::frame_pointer(Mfn(0)) + m.start, m.end - m.start};
}

// Everything about the domain under construction. p2m[pfn] is in dom0's own p2m pages, so contiguous access goes by
// page.
class Builder {
public:
    Builder(Domain& d, const image::Kernel& k, image::Bytes elf, const Dom0Layout& l, image::Bytes ramdisk,
            std::string_view command_line)
        : domain_(d), kernel_(k), elf_(elf), l_(l), ramdisk_(ramdisk), command_line_(command_line) {}

    void give_memory();
    void load();
    void make_tables();
    void describe();
    void enter();

private:
    Mfn frame(u64 pfn) const { return frames_[pfn]; }
    void copy_to(u64 physical, image::Bytes from);
    void clear(u64 physical, u64 bytes);
    void map(u64 address, u64 pfn, bool writable);
    u64& entry(u64 address, u32 level);
    bool is_table(u64 pfn) const { return pfn >= l_.tables_pfn && pfn < l_.tables_pfn + l_.table_pages; }

    Domain& domain_;
    const image::Kernel& kernel_;
    image::Bytes elf_;
    const Dom0Layout& l_;
    image::Bytes ramdisk_;
    std::string_view command_line_;
    Scratch frame_list_{l_.pages * sizeof(Mfn)};
    Mfn* frames_ = reinterpret_cast<Mfn*>(frame_list_.bytes().data());
    u64 tables_used_ = 1;
};

void Builder::give_memory() {
    u64 pfn = 0;
    u32 order = 9;
    while (pfn < l_.pages) {
        while (order > 0 && pfn + (u64{1} << order) > l_.pages)
            --order;
        auto chunk = allocate_domain_frames(domain_, order);
        if (!chunk && order == 0)
            panic("dom0: memory is out after {} of {} pages; make dom0_mem= smaller", pfn, l_.pages);
        if (!chunk) {
            --order;
            continue;
        }
        for (u64 i = 0; i < u64{1} << order; ++i, ++pfn) {
            frames_[pfn] = chunk.value() + i;
            arch::write_m2p(frames_[pfn], pfn);
        }
    }
    clear((l_.p2m_pfn + l_.p2m_pages - 1) * page_size, page_size);
    for (u64 i = 0; i < l_.pages; ++i)
        arch::frame_as<u64>(frame(l_.p2m_pfn + i / 512))[i % 512] = frames_[i].n;
}

void Builder::copy_to(u64 physical, image::Bytes from) {
    while (!from.empty()) {
        const u64 offset = physical & page_mask;
        const u64 n = from.size() < page_size - offset ? from.size() : page_size - offset;
        __builtin_memcpy(arch::frame_pointer(frame(physical / page_size)) + offset, from.data(), n);
        physical += n;
        from = from.subspan(n);
    }
}

void Builder::clear(u64 physical, u64 bytes) {
    while (bytes != 0) {
        const u64 offset = physical & page_mask;
        const u64 n = bytes < page_size - offset ? bytes : page_size - offset;
        __builtin_memset(arch::frame_pointer(frame(physical / page_size)) + offset, 0, n);
        physical += n;
        bytes -= n;
    }
}

// RAM holds what the firmware and the loader left there: what is read before dom0 writes it is cleared here.
void Builder::load() {
    for (const auto& s : kernel_.loaded()) {
        const u64 at = s.virtual_address - l_.virt_base;
        copy_to(at, elf_.subspan(s.file_offset, s.file_size));
        clear(at + s.file_size, s.mem_size - s.file_size);
    }
    copy_to(l_.module_pfn * page_size, ramdisk_);
    clear(l_.module_pfn * page_size + ramdisk_.size(), l_.module_pages * page_size - ramdisk_.size());
    for (u64 pfn = l_.start_info_pfn; pfn <= l_.stack_pfn; ++pfn) // start_info, page tables, stack
        clear(pfn * page_size, page_size);
    if (kernel_.hypercall_page)
        fill_hypercall_page(arch::frame_pointer(frame((*kernel_.hypercall_page - l_.virt_base) / page_size)));
}

// The entry for `address` in its table of `level`, with upper tables taken from the reserved run on the way.
u64& Builder::entry(u64 address, u32 level) {
    Mfn table = frame(l_.tables_pfn);
    for (u32 at = 4; at > level; --at) {
        u64& e = arch::frame_as<u64>(table)[(address >> (12 + 9 * (at - 1))) & 511];
        if (!entry::is_present(e))
            e = entry::make(frame(l_.tables_pfn + tables_used_++),
                            entry::present | entry::writable | entry::user | entry::accessed | entry::dirty);
        table = entry::frame(e);
    }
    return arch::frame_as<u64>(table)[(address >> (12 + 9 * (level - 1))) & 511];
}

void Builder::map(u64 address, u64 pfn, bool writable) {
    entry(address, 1) = entry::make(frame(pfn), entry::present | entry::user | entry::accessed | entry::dirty |
                                                    (writable ? entry::writable : 0));
}

void Builder::make_tables() {
    for (u64 pfn = 0; pfn < l_.mapped_pages; ++pfn)
        map(l_.virtual_of(pfn), pfn, !is_table(pfn));
    for (u64 i = 0; l_.p2m_apart && i < l_.p2m_pages; ++i)
        map(l_.p2m_address + i * page_size, l_.p2m_pfn + i, true);
    must(pin_table(domain_, frame(l_.tables_pfn), FrameType::L4), "validating the initial page tables");
}

void Builder::describe() {
    auto* si = arch::frame_as<start_info_t>(frame(l_.start_info_pfn));
    constexpr std::string_view magic = "xen-3.0-x86_64";
    __builtin_memcpy(si->magic, magic.data(), magic.size());
    si->nr_pages = l_.pages;
    si->shared_info = base_of(domain_.shared_info_frame).n;
    si->flags = SIF_PRIVILEGED | SIF_INITDOMAIN;
    si->pt_base = l_.virtual_of(l_.tables_pfn);
    si->nr_pt_frames = l_.table_pages;
    si->mfn_list = l_.p2m_address;
    if (l_.p2m_apart) {
        si->first_p2m_pfn = l_.p2m_pfn;
        si->nr_p2m_frames = l_.p2m_pages;
    }
    if (!ramdisk_.empty()) {
        si->mod_start = l_.module_apart ? l_.module_pfn : l_.virtual_of(l_.module_pfn);
        si->mod_len = ramdisk_.size();
        if (l_.module_apart)
            si->flags |= SIF_MOD_START_PFN;
    }
    const usize n = command_line_.size() < sizeof si->cmd_line - 1 ? command_line_.size() : sizeof si->cmd_line - 1;
    __builtin_memcpy(si->cmd_line, command_line_.data(), n);
}

void Builder::enter() {
    Vcpu& v = *domain_.vcpu(0);
    auto* context = make<vcpu_guest_context_t>();
    if (!context)
        panic("dom0: no memory for its first vcpu");
    auto& r = context->user_regs;
    r.rip = kernel_.entry;
    r.rsp = l_.virtual_of(l_.stack_pfn) + page_size;
    r.rsi = l_.virtual_of(l_.start_info_pfn);
    r.rflags = 1 << 9;
    r.cs = FLAT_KERNEL_CS;
    r.ss = FLAT_KERNEL_SS;
    context->kernel_ss = FLAT_KERNEL_SS;
    context->kernel_sp = r.rsp;
    context->ctrlreg[3] = xen_pfn_to_cr3(frame(l_.tables_pfn).n);
    context->flags = VGCF_in_kernel | VGCF_online;
    must(enter_guest_context(v, *context), "its first vcpu's context");
    destroy(context);
    v.info->evtchn_upcall_mask = 1;
}

u64 dom0_pages(const Options& o) {
    const u64 free = free_frame_count();
    const u64 for_hypervisor = std::min((u64{64} << 20) / page_size, free / 4), for_guests = free / 16;
    const u64 most = free - for_hypervisor - for_guests;
    const u64 wanted = o.dom0_bytes / page_size;
    return wanted == 0 || wanted > most ? most : wanted;
}

// Loaders put the file's name before the arguments, or nothing at all: a first word that names a path or a kernel file.
std::string_view after_file_name(std::string_view text) {
    const usize space = text.find(' ');
    const std::string_view first = text.substr(0, space);
    const bool is_name =
        first.find('=') == first.npos && (first.find('/') != first.npos || first.starts_with("vmlinu"));
    return !is_name ? text : space == text.npos ? std::string_view{} : text.substr(space + 1);
}

// Such a kernel would run, but without a console, and without drivers for what it finds: nobody would know why.
void refuse_guest_only(const image::Kernel& kernel) {
    if (kernel.features_listed && (kernel.features_supported & 1u << XENFEAT_dom0) == 0)
        panic("dom0: this kernel can be a guest only: XENFEAT_dom0 is not in its ELF note SUPPORTED_FEATURES (Linux: "
              "CONFIG_XEN_DOM0); boot another kernel as dom0, and name this one as kernel= of a guest");
}

DomainRef make_domain(const Options& options, u64 pages) {
    DomainParameters p;
    p.id = 0;
    p.privileged = true;
    p.max_vcpus = options.dom0_vcpus;
    p.max_event_port = ~0u;
    DomainRef d = must(create_domain(p), "making the domain");
    for (u32 i = 0; i < options.dom0_vcpus; ++i)
        must(create_vcpu(*d, VcpuId(i)), "making a vcpu");
    d->frames.with([&](OwnedFrames& f) { f.maximum = pages; });
    return d;
}

} // namespace

void build_dom0(const BootInfo& boot, const Options& options) {
    if (boot.module_count == 0)
        panic("no dom0 kernel: pass it as the first boot module (QEMU: -initrd \"vmlinuz ARGS,ramdisk\")");
    const auto file = module_bytes(boot.modules[0]);
    Scratch image_memory(must(image::unpacked_size(file)));
    image::Bytes elf;
    {
        Scratch work(must(image::scratch_size(file)));
        elf = must(image::unpack(file, image_memory.bytes(), work.bytes()));
    }
    const image::Kernel kernel = must(image::parse_elf(elf));
    refuse_guest_only(kernel);
    const image::Bytes ramdisk = boot.module_count > 1 ? module_bytes(boot.modules[1]) : image::Bytes();

    const u64 pages = dom0_pages(options);
    const auto layout = lay_out_dom0(kernel, pages, ramdisk.size());
    if (!layout)
        panic("dom0: {} MiB and its addresses are too little for its kernel and RAM disk; make dom0_mem= larger",
              pages >> 8);
    const DomainRef d = make_domain(options, pages);
    Builder builder(*d, kernel, elf, *layout, ramdisk, after_file_name(boot.modules[0].text.view()));
    builder.give_memory();
    builder.load();
    builder.make_tables();
    builder.describe();
    builder.enter();
    log(Level::Info, "dom0: {} {}, entry {x}, {} MiB, {} vcpus", std::string_view(kernel.guest_os.text),
        std::string_view(kernel.guest_version.text), kernel.entry, pages >> 8, options.dom0_vcpus);
}

} // namespace domus::hv
