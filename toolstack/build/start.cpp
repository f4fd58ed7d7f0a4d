// See start.hpp.
#include "toolstack/build/start.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace domus::build {

void fill_start_info(start_info_t& info, const Layout& layout, const Request& request,
                     std::span<const std::uint64_t> frames, std::uint64_t shared_info_frame,
                     std::uint64_t ramdisk_bytes) {
    constexpr char magic[] = "xen-3.0-x86_64";
    static_assert(sizeof magic <= sizeof info.magic);
    std::memcpy(info.magic, magic, sizeof magic);
    info.nr_pages = layout.pages;
    info.shared_info = shared_info_frame << 12;
    info.flags = SIF_VIRT_P2M_4TOOLS;
    info.store_mfn = frames[layout.store];
    info.store_evtchn = request.store_evtchn;
    info.console.domU.mfn = frames[layout.console];
    info.console.domU.evtchn = request.console_evtchn;
    info.pt_base = layout.address(layout.tables.first);
    info.nr_pt_frames = layout.tables.count;
    info.mfn_list = layout.p2m_address;
    if (layout.p2m_tables.count != 0) {
        info.first_p2m_pfn = layout.p2m_tables.first;
        info.nr_p2m_frames = layout.p2m_tables.count + layout.p2m.count;
    }
    if (ramdisk_bytes != 0) {
        info.mod_start = layout.ramdisk_by_frame ? layout.ramdisk.first : layout.address(layout.ramdisk.first);
        info.mod_len = ramdisk_bytes;
        info.flags |= layout.ramdisk_by_frame ? SIF_MOD_START_PFN : 0;
    }
    const std::size_t length = std::min(request.cmdline.size(), sizeof info.cmd_line - 1);
    std::memcpy(info.cmd_line, request.cmdline.data(), length);
}

vcpu_guest_context_t first_context(const Layout& layout, const image::Kernel& kernel,
                                   std::span<const std::uint64_t> frames) {
    vcpu_guest_context_t context{};
    context.flags = VGCF_in_kernel | VGCF_online;
    auto& registers = context.user_regs;
    registers.rip = kernel.entry;
    registers.rsp = layout.address(layout.stack + 1);
    registers.rsi = layout.address(layout.start_info);
    registers.rflags = 1 << 9; // interrupts on, as Xen demands of a PV guest; events are masked in shared info
    registers.cs = FLAT_KERNEL_CS;
    registers.ds = registers.es = registers.fs = registers.gs = FLAT_KERNEL_DS;
    registers.ss = context.kernel_ss = FLAT_KERNEL_SS; // not the null selector of ds: iret refuses it in ring 3
    context.kernel_sp = registers.rsp;
    context.ctrlreg[3] = frames[layout.tables.first] << 12;
    context.debugreg[6] = 0xffff0ff0; // the processor's values after reset
    context.debugreg[7] = 0x400;
    return context;
}

void offer_rings(std::span<grant_entry_v1_t> grants, const Request& request, const Result& result) {
    const auto offer = [&](std::uint32_t reference, std::uint16_t domid, std::uint64_t frame) {
        grant_entry_v1_t& entry = grants[reference];
        entry.domid = domid;
        entry.frame = static_cast<std::uint32_t>(frame);
        std::atomic_thread_fence(std::memory_order_release); // the flags make it valid: pairs with the hypervisor's map
        entry.flags = GTF_permit_access;
    };
    offer(result.console_gref, request.console_domid, result.console_mfn);
    offer(result.store_gref, request.store_domid, result.store_mfn);
}

void mask_events(shared_info_t& shared) {
    for (auto& vcpu : shared.vcpu_info) {
        vcpu.evtchn_upcall_mask = 1;
    }
}

} // namespace domus::build
