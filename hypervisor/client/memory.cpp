// Memory, page tables, events and grants of another domain. The memory half of hypervisor.hpp.
#include "hypervisor/client/hypervisor.hpp"

#include <algorithm>

#include <xen/event_channel.h>
#include <xen/grant_table.h>

#include "hypervisor/client/call.hpp"

namespace domus::client {

namespace {

long memory_op(const std::shared_ptr<Raw>& raw, unsigned command, std::uint64_t argument) {
    return raw->hypercall(__HYPERVISOR_memory_op, {command, argument});
}

/// populate_physmap and its kin: an array of extents in, a count of extents done out.
long change_reservation(const std::shared_ptr<Raw>& raw, unsigned command, std::uint16_t domid,
                        Buffer<xen_pfn_t>& extents, unsigned order) {
    Buffer<xen_memory_reservation> request(raw);
    set_xen_guest_handle(request->extent_start, extents.data());
    request->nr_extents = extents.size();
    request->extent_order = order;
    request->domid = domid;
    return memory_op(raw, command, request.address());
}

void mmuext(const std::shared_ptr<Raw>& raw, const char* name, unsigned command, std::uint16_t domid,
            std::uint64_t frame) {
    Buffer<mmuext_op_t> op(raw);
    op->cmd = command;
    op->arg1.mfn = frame;
    const long answer = raw->hypercall(__HYPERVISOR_mmuext_op, {op.address(), 1, 0, domid});
    if (answer < 0) {
        throw Error(std::string("mmuext_op ") + name, domid, static_cast<int>(-answer));
    }
}

struct E820Entry { // the record of BIOS call INT 0x15, EAX=0xE820
    std::uint64_t start, size;
    std::uint32_t type;
} __attribute__((packed));
static_assert(sizeof(E820Entry) == 20);
constexpr std::uint32_t e820_ram = 1;

} // namespace

std::size_t Hypervisor::populate(std::uint16_t domid, std::span<std::uint64_t> frames, unsigned order) {
    Buffer<xen_pfn_t> extents(raw_, frames.size());
    std::copy(frames.begin(), frames.end(), extents.span().begin());
    const long done = change_reservation(raw_, XENMEM_populate_physmap, domid, extents, order);
    if (done < 0) {
        throw Error("memory_op populate_physmap", domid, static_cast<int>(-done));
    }
    const std::size_t count = std::min<std::size_t>(done, frames.size());
    std::copy_n(extents.span().begin(), count, frames.begin());
    return count;
}

std::size_t Hypervisor::decrease_reservation(std::uint16_t domid, std::span<const std::uint64_t> frames,
                                             unsigned order) {
    Buffer<xen_pfn_t> extents(raw_, frames.size());
    std::copy(frames.begin(), frames.end(), extents.span().begin());
    const long done = change_reservation(raw_, XENMEM_decrease_reservation, domid, extents, order);
    if (done < 0) {
        throw Error("memory_op decrease_reservation", domid, static_cast<int>(-done));
    }
    return static_cast<std::size_t>(done);
}

void Hypervisor::claim(std::uint16_t domid, std::uint64_t pages) {
    Buffer<xen_memory_reservation> request(raw_);
    request->nr_extents = pages;
    request->domid = domid;
    const long answer = memory_op(raw_, XENMEM_claim_pages, request.address());
    if (answer < 0) {
        throw Error("memory_op claim_pages", domid, static_cast<int>(-answer));
    }
}

namespace {
std::uint64_t reservation(const std::shared_ptr<Raw>& raw, const char* name, unsigned command, std::uint16_t domid) {
    Buffer<xen_memory_domain> request(raw);
    request->domid = domid;
    const long answer = memory_op(raw, command, request.address());
    if (answer < 0) {
        throw Error(std::string("memory_op ") + name, domid, static_cast<int>(-answer));
    }
    return static_cast<std::uint64_t>(answer);
}
} // namespace

std::uint64_t Hypervisor::current_reservation(std::uint16_t domid) {
    return reservation(raw_, "current_reservation", XENMEM_current_reservation, domid);
}

std::uint64_t Hypervisor::maximum_reservation(std::uint16_t domid) {
    return reservation(raw_, "maximum_reservation", XENMEM_maximum_reservation, domid);
}

void Hypervisor::set_memory_map(std::uint16_t domid, std::uint64_t kib) {
    Buffer<E820Entry> entry(raw_);
    *entry = {0, kib * 1024, e820_ram};
    Buffer<xen_foreign_memory_map> request(raw_);
    request->domid = domid;
    request->map.nr_entries = 1;
    set_xen_guest_handle(request->map.buffer, entry.data());
    const long answer = memory_op(raw_, XENMEM_set_memory_map, request.address());
    if (answer < 0) {
        throw Error("memory_op set_memory_map", domid, static_cast<int>(-answer));
    }
}

void Hypervisor::pin_l4(std::uint16_t domid, std::uint64_t frame) {
    mmuext(raw_, "pin_l4_table", MMUEXT_PIN_L4_TABLE, domid, frame);
}

void Hypervisor::unpin(std::uint16_t domid, std::uint64_t frame) {
    mmuext(raw_, "unpin_table", MMUEXT_UNPIN_TABLE, domid, frame);
}

void Hypervisor::update_machine_to_phys(std::uint16_t domid, std::span<const MachineToPhys> updates) {
    constexpr std::size_t batch = 8192;
    for (std::size_t done = 0; done < updates.size(); done += batch) {
        const auto part = updates.subspan(done, std::min(batch, updates.size() - done));
        Buffer<mmu_update_t> list(raw_, part.size());
        for (std::size_t i = 0; i < part.size(); ++i) {
            list[i] = {.ptr = part[i].mfn * page_size | MMU_MACHPHYS_UPDATE, .val = part[i].pfn};
        }
        const long answer = raw_->hypercall(__HYPERVISOR_mmu_update, {list.address(), part.size(), 0, domid});
        if (answer < 0) {
            throw Error("mmu_update machphys", domid, static_cast<int>(-answer));
        }
    }
}

std::uint32_t Hypervisor::alloc_unbound(std::uint16_t domid, std::uint16_t remote) {
    Buffer<evtchn_alloc_unbound_t> request(raw_);
    request->dom = domid;
    request->remote_dom = remote;
    const long answer = raw_->hypercall(__HYPERVISOR_event_channel_op, {EVTCHNOP_alloc_unbound, request.address()});
    if (answer < 0) {
        throw Error("event_channel_op alloc_unbound", domid, static_cast<int>(-answer));
    }
    return request->port;
}

std::vector<std::uint64_t> Hypervisor::grant_table_frames(std::uint16_t domid, unsigned count) {
    Buffer<xen_pfn_t> frames(raw_, count);
    Buffer<gnttab_setup_table_t> request(raw_);
    request->dom = domid;
    request->nr_frames = count;
    set_xen_guest_handle(request->frame_list, frames.data());
    const long answer = raw_->hypercall(__HYPERVISOR_grant_table_op, {GNTTABOP_setup_table, request.address(), 1});
    if (answer < 0) {
        throw Error("grant_table_op setup_table", domid, static_cast<int>(-answer));
    }
    if (request->status != GNTST_okay) {
        throw Error("grant_table_op setup_table", domid, EINVAL,
                    "the hypervisor answered grant status " + std::to_string(request->status));
    }
    return {frames.span().begin(), frames.span().end()};
}

} // namespace domus::client
