// See guest.hpp.
#include "tests/bus/guest.hpp"

#include "hypervisor/core/frames.hpp"

#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::guest {

void give_up(const char* why) {
    throw std::runtime_error(why);
}

} // namespace domus::guest

namespace domus::bus {
namespace {

grant_entry_v1_t* set_up_grants(Machine& machine, Domain& domain) {
    xen_pfn_t frame = 0;
    gnttab_setup_table_t op{};
    op.dom = DOMID_SELF;
    op.nr_frames = 1;
    op.frame_list.p = &frame;
    if (machine.grants(domain, GNTTABOP_setup_table, &op) != 0 || op.status != GNTST_okay)
        throw std::runtime_error("setup_table");
    return machine.at<grant_entry_v1_t>(Mfn(frame));
}

} // namespace

Guest::Guest(Machine& machine, std::uint16_t id, Trace trace)
    : domain(machine.make_domain(id)), domid(id), machine_(machine), trace_(std::move(trace)),
      table_(set_up_grants(machine, domain)) {
    u8* ring = take_pages().value();
    store_frame = frame_of(ring);
    evtchn_alloc_unbound_t op{DOMID_SELF, 0, 0};
    if (machine_.events(domain, EVTCHNOP_alloc_unbound, &op) != 0)
        throw std::runtime_error("no port for the store");
    store_port = op.port;
    kit_ = std::make_unique<guest::Kit>(*this, reinterpret_cast<xenstore_domain_interface*>(ring), store_port);
    kit_->store.start();
}

Guest::~Guest() = default;

bool Guest::run() {
    auto& shared = *domain.shared;
    bool any = false;
    for (u32 word = 0; word < 64; ++word) {
        for (u64 ready = std::exchange(shared.evtchn_pending[word], 0); ready != 0; ready &= ready - 1) {
            const u32 port = word * 64 + static_cast<u32>(std::countr_zero(ready));
            any = true;
            if (const auto follower = followers_.find(port); follower != followers_.end())
                follower->second->notify();
        }
    }
    domain.vcpus[0]->info->evtchn_upcall_pending = 0;
    domain.vcpus[0]->info->evtchn_pending_sel = 0;
    return tasks.run() || any;
}

Result<u8*> Guest::take_pages(u32 count) {
    const auto order = static_cast<u32>(std::bit_width(count - 1));
    const Mfn first = TRY(hv::allocate_domain_frames(domain, order));
    for (u32 i = 0; i < 1u << order; ++i)
        std::memset(machine_.at<u8>(first + i), 0, page_size);
    return machine_.at<u8>(first);
}

void Guest::give_page(void* page) {
    if (!hv::release_domain_frame(domain, frame_of(page)))
        throw std::runtime_error("a page was given back that somebody still maps");
}

Result<u32> Guest::open_port(u16 other, guest::Event& event) {
    evtchn_alloc_unbound_t op{DOMID_SELF, other, 0};
    if (const auto error = machine_.events(domain, EVTCHNOP_alloc_unbound, &op))
        return static_cast<Err>(-error);
    follow_port(op.port, event);
    trace_(fmt::format("guest {} port {} waits for domain {}", domid, op.port, other));
    return op.port;
}

void Guest::close_port(u32 port) {
    followers_.erase(port);
    evtchn_close_t op{port};
    machine_.events(domain, EVTCHNOP_close, &op);
}

void Guest::notify(u32 port) {
    evtchn_send_t op{port};
    machine_.events(domain, EVTCHNOP_send, &op);
    trace_(fmt::format("guest {} notify port {}", domid, port));
}

void Guest::say(std::string_view text) {
    said += text;
    trace_(fmt::format("guest {} says {}", domid, text));
}

} // namespace domus::bus
