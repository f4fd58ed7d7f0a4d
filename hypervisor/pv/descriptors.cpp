// GDT, LDT and segment bases of a vcpu (ISOLATION: segments class). Owner: the vcpu: its own hypercalls, or while it
// does not run. Tables in force are frames typed Segments: validated whole, never writable by the guest meanwhile.
#include "hypervisor/pv/descriptors.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/page_types.hpp"
#include "hypervisor/pv/root.hpp"

namespace domus::hv {
namespace {

constexpr u32 entries_per_page = 512;
constexpr u32 max_guest_gdt_entries = 14 * entries_per_page; // the hypervisor's page follows
constexpr u32 max_ldt_entries = 8192;

using MapPage = void (*)(u32 window, u32 page, Mfn);

void drop_frames(Vcpu& v, std::array<u64, 16>& frames, MapPage map) {
    for (u32 i = 0; i < frames.size(); ++i) {
        if (frames[i] == 0)
            continue;
        map(v.window, i, invalid_mfn);
        put_frame_and_type(Mfn(frames[i]));
        frames[i] = 0;
    }
}

// All or nothing: take the new frames' references before the old ones go.
Result<void> take_frames(Vcpu& v, std::span<const u64> frames) {
    for (usize i = 0; i < frames.size(); ++i) {
        const auto taken = get_frame_and_type(Mfn(frames[i]), v.domain, FrameType::Segments);
        if (taken)
            continue;
        why(v.domain,
            "frame {x} cannot be a descriptor table: not the domain's, in use as something else, or holds a gate",
            frames[i]);
        while (i-- > 0)
            put_frame_and_type(Mfn(frames[i]));
        return taken.error();
    }
    return {};
}

void replace_frames(Vcpu& v, std::array<u64, 16>& held, std::span<const u64> frames, MapPage map) {
    drop_frames(v, held, map);
    for (u32 i = 0; i < frames.size(); ++i) {
        held[i] = frames[i];
        map(v.window, i, Mfn(frames[i]));
    }
}

void reload(Vcpu& v) {
    if (&v == &current())
        arch::load_descriptor_tables(v);
}

// The frame that maps a guest kernel address, by the vcpu's kernel root.
Result<u64> frame_behind(const Vcpu& v, u64 address) {
    Mfn table = frame_of(Maddr(v.pv.kernel_root));
    for (u8 level = 4; level >= 1; --level) {
        const u64 e = arch::read_entry(table, entry_index(Vaddr(address), static_cast<FrameType>(level)));
        if (!entry::is_present(e))
            return Err::Fault;
        table = entry::frame(e);
    }
    return table.n;
}

} // namespace

Result<void> install_gdt(Vcpu& v, std::span<const u64> frames, u32 entries) {
    TRY(take_frames(v, frames));
    replace_frames(v, v.pv.gdt_frames, frames, arch::map_window_gdt);
    v.pv.gdt_entries = entries;
    reload(v);
    return {};
}

void drop_descriptor_tables(Vcpu& v) {
    drop_frames(v, v.pv.gdt_frames, arch::map_window_gdt);
    drop_frames(v, v.pv.ldt_frames, arch::map_window_ldt);
    v.pv.gdt_entries = v.pv.ldt_entries = 0;
}

Result<void> set_gdt(Call& call, GuestPtr<xen_ulong_t> list, u32 entries) {
    if (entries > max_guest_gdt_entries) {
        why(call.domain, "set_gdt: {} entries, the guest's part has {}", entries, max_guest_gdt_entries);
        return Err::Inval;
    }
    u64 frames[14];
    const u32 pages = (entries + entries_per_page - 1) / entries_per_page;
    for (u32 i = 0; i < pages; ++i)
        frames[i] = TRY(copy_in(list, i));
    return install_gdt(call.vcpu, std::span<const u64>(frames, pages), entries);
}

Result<void> pv_set_ldt(Vcpu& v, u64 base, u32 entries) {
    if (entries > max_ldt_entries || (base & page_mask) || !arch::is_guest_range(Vaddr(base), u64{entries} * 8)) {
        why(v.domain, "LDT at {x} with {} entries: not page-aligned guest memory, or too large", base, entries);
        return Err::Inval;
    }
    u64 frames[16];
    const u32 pages = (entries + entries_per_page - 1) / entries_per_page;
    for (u32 i = 0; i < pages; ++i)
        frames[i] = TRY(frame_behind(v, base + i * page_size));
    TRY(take_frames(v, std::span<const u64>(frames, pages)));
    replace_frames(v, v.pv.ldt_frames, std::span<const u64>(frames, pages), arch::map_window_ldt);
    v.pv.ldt_base = base;
    v.pv.ldt_entries = entries;
    reload(v);
    return {};
}

Result<void> update_descriptor(Call& call, u64 machine_address, u64 descriptor) {
    const Mfn frame = frame_of(Maddr(machine_address));
    if (machine_address & 7)
        return Err::Inval;
    const u64 stored = TRY(stored_descriptor(descriptor));
    TRY(get_frame(frame, call.domain));
    // A table in force keeps its type while the entry changes; an ordinary page is written as the guest could itself.
    auto typed = get_type(frame, FrameType::Segments);
    if (!typed)
        typed = get_type(frame, FrameType::Writable);
    if (!typed) {
        put_frame(frame);
        why(call.domain, "update_descriptor: frame {x} is neither a descriptor table nor writable", frame);
        return Err::Inval;
    }
    auto* slot = arch::frame_as<u64>(frame) + (machine_address & page_mask) / 8;
    __atomic_store_n(slot, stored, __ATOMIC_RELAXED);
    put_frame_and_type(frame);
    return {};
}

Result<void> set_segment_base(Call& call, u32 which, u64 base) {
    if (which != SEGBASE_GS_USER_SEL && !is_canonical(base)) {
        why(call.domain, "segment base {x} is not canonical", base);
        return Err::Inval;
    }
    switch (which) {
    case SEGBASE_FS:
        arch::set_fs_base(base);
        return {};
    case SEGBASE_GS_USER:
        arch::set_other_gs_base(base);
        return {}; // hypercalls come from kernel mode
    case SEGBASE_GS_KERNEL:
        arch::set_gs_base(base);
        return {};
    case SEGBASE_GS_USER_SEL:
        // A selector that names no segment becomes null, as the CPU's own checks leave it.
        (void)arch::load_user_gs_selector(static_cast<u16>(base));
        return {};
    default:
        return Err::Inval;
    }
}

} // namespace domus::hv
