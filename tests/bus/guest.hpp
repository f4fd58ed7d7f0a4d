// A guest on the bus: a domain of the hypervisor's core with guestkit's drivers on it. Owner: Bus. One thread.
#pragma once

#include "frontend-drivers/guestkit/drivers/kit.hpp"
#include "tests/bus/dom0.hpp"

#include <memory>
#include <string>

namespace domus::bus {

class Guest final : public guest::Platform {
public:
    // The domain is dom0's to introduce to the store: `store_frame` and `store_port` are its ring.
    Guest(Machine& machine, std::uint16_t domid, Trace trace);
    ~Guest(); // its tasks end where they stand; the domain stays, see Bus::kill

    // Delivers its events and runs its tasks. False: there was nothing to do.
    bool run();
    void start(guest::Task<void> task) { tasks.start(std::move(task)); }

    // guest::Platform
    Result<u8*> take_pages(u32 count = 1) override;
    void give_page(void* page) override;
    Mfn frame_of(const void* address) const override { return hv::arch::frame_of_pointer(address); }
    grant_entry_v1_t* grant_table() override { return table_; }
    u32 grant_entries() const override { return page_size / sizeof(grant_entry_v1_t); }
    Result<u32> open_port(u16 other, guest::Event& event) override;
    void follow_port(u32 port, guest::Event& event) override { followers_[port] = &event; }
    void close_port(u32 port) override;
    void notify(u32 port) override;
    u64 now() override { return machine_.now; }
    void say(std::string_view text) override;

    Domain& domain;
    const std::uint16_t domid;
    std::string said; // all that it said
    Mfn store_frame;
    u32 store_port = 0;
    guest::Kit& kit() { return *kit_; }

private:
    Machine& machine_;
    Trace trace_;
    grant_entry_v1_t* table_;
    std::map<u32, guest::Event*> followers_;
    std::unique_ptr<guest::Kit> kit_;
};

} // namespace domus::bus
