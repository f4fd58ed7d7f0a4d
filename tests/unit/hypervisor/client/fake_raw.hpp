// A hypervisor of one guest behind the raw seam: gives memory, keeps pages, remembers what was asked. Test code.
// Foreign mappings are copies that are written back when unmapped, so that a test sees what was written, and when.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <vector>

#include <xen/xen.h>

#include <xen/domctl.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/sysctl.h>

#include "hypervisor/client/raw.hpp"

namespace domus::client::test {

struct FakeRaw : Raw {
    using Page = std::array<std::uint8_t, page_size>;

    std::map<std::uint64_t, Page> pages; ///< by machine frame
    std::uint64_t next_frame = 0x7000;
    std::uint64_t frames_left = ~0ull; ///< memory the hypervisor still has
    bool big_extents = true;           ///< memory in pieces of 2 MiB
    std::vector<std::uint64_t> pinned;
    std::vector<std::uint64_t> hypercall_pages;
    std::vector<std::pair<std::uint32_t, long>> domctls; ///< every domctl and its answer
    std::vector<vcpu_guest_context_t> contexts;
    std::map<std::uint32_t, std::vector<long>> answers; ///< errors for a domctl to give before it works
    std::function<long(xen_sysctl&)> sysctl = [](xen_sysctl&) { return -ENOSYS; };
    std::uint64_t shared_info = 0x55, grant_frame = 0x66;
    std::uint64_t unmappable = ~0ull; ///< frame whose mapping fails
    std::size_t buffers = 0, mappings = 0;

    struct Mapping {
        std::vector<std::uint64_t> frames;
        bool writable;
    };
    std::map<void*, Mapping> live;

    ~FakeRaw() override = default;
    FakeRaw() { pages[shared_info], pages[grant_frame]; }

    void* allocate(std::size_t bytes) override {
        ++buffers;
        return std::calloc(1, bytes);
    }
    void release(void* memory, std::size_t) noexcept override {
        --buffers;
        std::free(memory);
    }

    void* map_foreign(std::uint16_t, int protection, std::span<const std::uint64_t> frames,
                      std::span<int> errors) override {
        auto* memory = static_cast<std::uint8_t*>(std::malloc(frames.size() * page_size));
        for (std::size_t i = 0; i < frames.size(); ++i) {
            const bool known = pages.contains(frames[i]) && frames[i] != unmappable;
            errors[i] = known ? 0 : -EINVAL;
            if (known) {
                std::memcpy(memory + i * page_size, pages[frames[i]].data(), page_size);
            }
        }
        live[memory] = {{frames.begin(), frames.end()}, (protection & 2) != 0};
        ++mappings;
        return memory;
    }
    void unmap_foreign(void* address, std::size_t) noexcept override {
        const Mapping& mapping = live.at(address);
        for (std::size_t i = 0; mapping.writable && i < mapping.frames.size(); ++i) {
            std::memcpy(pages[mapping.frames[i]].data(), static_cast<std::uint8_t*>(address) + i * page_size,
                        page_size);
        }
        live.erase(address);
        std::free(address);
    }

    template <class T>
    static T& at(std::uint64_t address) {
        return *reinterpret_cast<T*>(address);
    }

    long hypercall(unsigned op, const std::array<std::uint64_t, 5>& a) override {
        switch (op) {
        case __HYPERVISOR_domctl:
            return domctl(at<xen_domctl>(a[0]));
        case __HYPERVISOR_sysctl:
            return sysctl(at<xen_sysctl>(a[0]));
        case __HYPERVISOR_memory_op:
            return memory(static_cast<unsigned>(a[0]), a[1]);
        case __HYPERVISOR_mmuext_op:
            return pin(at<mmuext_op_t>(a[0]));
        case __HYPERVISOR_grant_table_op: {
            auto& setup = at<gnttab_setup_table_t>(a[1]);
            setup.frame_list.p[0] = grant_frame;
            setup.status = GNTST_okay;
            return 0;
        }
        case __HYPERVISOR_event_channel_op:
            at<evtchn_alloc_unbound_t>(a[1]).port = 17;
            return 0;
        default:
            return -ENOSYS;
        }
    }

    long domctl(xen_domctl& op) {
        if (op.interface_version != XEN_DOMCTL_INTERFACE_VERSION) {
            return -EACCES;
        }
        long answer = 0;
        if (auto& queue = answers[op.cmd]; !queue.empty()) {
            answer = queue.front();
            queue.erase(queue.begin());
        } else if (op.cmd == XEN_DOMCTL_createdomain) {
            op.domain = 9;
        } else if (op.cmd == XEN_DOMCTL_getdomaininfo) {
            op.u.getdomaininfo.domain = op.domain;
            op.u.getdomaininfo.shared_info_frame = shared_info;
        } else if (op.cmd == XEN_DOMCTL_setvcpucontext) {
            contexts.push_back(*op.u.vcpucontext.ctxt.p);
        } else if (op.cmd == XEN_DOMCTL_hypercall_init) {
            hypercall_pages.push_back(op.u.hypercall_init.gmfn);
        }
        domctls.emplace_back(op.cmd, answer);
        return answer;
    }

    long memory(unsigned command, std::uint64_t argument) {
        if (command != XENMEM_populate_physmap) {
            return command == XENMEM_set_memory_map ? -ENOSYS : 0;
        }
        auto& request = at<xen_memory_reservation>(argument);
        const std::uint64_t each = 1ull << request.extent_order;
        if (request.extent_order != 0 && !big_extents) {
            return 0;
        }
        std::uint64_t done = 0;
        for (; done < request.nr_extents && frames_left >= each; ++done, frames_left -= each) {
            next_frame += 3; // never the neighbour: machine frames of a guest are not in a row
            request.extent_start.p[done] = next_frame;
            for (std::uint64_t i = 0; i < each; ++i) {
                pages[next_frame++].fill(0xcc); // a former owner's data
            }
        }
        return static_cast<long>(done);
    }

    long pin(const mmuext_op_t& op) {
        for (const auto& [address, mapping] : live) {
            if (mapping.writable) {
                return -EINVAL; // what PV forbids: a page table that somebody can still write
            }
        }
        if (op.cmd == MMUEXT_PIN_L4_TABLE) {
            pinned.push_back(op.arg1.mfn);
        }
        return 0;
    }
};

} // namespace domus::client::test
