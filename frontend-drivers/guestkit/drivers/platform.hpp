// The seam: what a driver of the kit knows of the machine it runs on. Two worlds stand behind it: the mini guest's own
// (app.cpp, hypercalls) and the bus in one process (tests/bus, the hypervisor's core as a library). No lock: one vcpu.
#pragma once

#include "frontend-drivers/guestkit/drivers/task.hpp"
#include "hypervisor/abi/xen.hpp"

#include <string_view>

namespace domus::guest {

class Platform {
public:
    Scheduler tasks; // first: what a task holds must outlive it

    // Memory. Pages are zeroed, and side by side as asked; NoMem when there are not that many. Freed one by one.
    virtual Result<u8*> take_pages(u32 count = 1) = 0;
    virtual void give_page(void* page) = 0;
    // The machine frame behind an address, as a grant names it.
    virtual Mfn frame_of(const void* address) const = 0;

    // Grants: the shared table of version 1, `grant_entries` long, set up and mapped.
    virtual grant_entry_v1_t* grant_table() = 0;
    virtual u32 grant_entries() const = 0;

    // Events. A port that waits for the other domain; each event on it notifies `event`, until it is closed.
    virtual Result<u32> open_port(u16 other, Event& event) = 0;
    virtual void follow_port(u32 port, Event& event) = 0; // one that the domain was born with
    virtual void close_port(u32 port) = 0;
    virtual void notify(u32 port) = 0;

    // Time in nanoseconds, and a line for whoever looks after the guest.
    virtual u64 now() = 0;
    virtual void say(std::string_view text) = 0;

protected:
    ~Platform() = default;
};

} // namespace domus::guest
