// The order of locks: a CPU may only take a lock of a higher rank than every lock it holds.
// No unranked lock exists. Interrupt handlers take no lock (see docs/hypervisor.md).
#pragma once

namespace domus {

enum class Rank : int {
    Control = 10,    // domctl: one control operation at a time
    DomainList = 20, // core/domain_list
    Domain = 30,     // one domain's lifecycle and settings
    PageTables = 40, // one domain's unhooked page table
    Grants = 50,     // one domain's grant table; two of them: lower domain id first, by lock_pair
    Maptrack = 55,
    Pages = 60,        // one domain's list of frames and counts
    VirqHandlers = 65, // who handles the machine's global virqs
    Events = 70,       // one domain's event channels; two of them: lower domain id first, by lock_pair
    EventQueue = 75,   // one domain's FIFO event queues
    Timers = 80,       // one CPU's timer queue
    RunQueue = 85,     // one CPU's run queue
    Heap = 90,         // small objects
    Frames = 95,       // free frames
    Trace = 98,
    Console = 99,
};

} // namespace domus
