// A small ring of the last things each CPU did, for the hypervisor's own use: a panic prints it.
// Owner: each CPU its own ring. Lock: none (only its CPU writes; a reader on panic tolerates a torn record).
// Cheap enough to stay on: one record is six stores.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv {

enum class TraceEvent : u16 {
    None,
    Hypercall,     // number, first argument, second argument
    Trap,          // vector, rip, cr2 or error code
    ContextSwitch, // from domain:vcpu, to domain:vcpu
    Event,         // domain, port, vcpu
    GrantMap,      // granter, reference, frame
    GrantUnmap,    // granter, reference, frame
    DomainLife,    // domain, new Life
    TypeChange,    // frame, old type word, new type word
    Note,          // free for a debugging session
    Last,
};

struct TraceRecord {
    u64 time; // system time in ns
    u16 domain;
    u16 vcpu;
    TraceEvent event;
    u64 args[3];
};

inline constexpr u32 trace_records_per_cpu = 64; // a power of two

void trace(TraceEvent, u64 a = 0, u64 b = 0, u64 c = 0);

// The n-th last record of this CPU (0: the newest). event None: there is none.
TraceRecord trace_back(u32 n);

// Print the last records, newest last, without taking a lock. Called by panic.
void print_trace_in_panic(u32 count = 16);

} // namespace domus::hv
