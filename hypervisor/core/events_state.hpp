// Inside of event channels: ports and their table. Private to core/events*.cpp and core/fifo*.cpp.
//
// Lock: Rank::Events of the owning domain. A port in state Interdomain changes only with BOTH domains' locks held, so
// either lock is enough to follow a pair: that is why send takes one lock. Whoever holds it may also touch the peer's
// pending state, with atomic operations only.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/events.hpp"
#include "hypervisor/core/pirq.hpp"

namespace domus::hv {

struct FifoState;

enum class PortKind : u8 {
    Free = EVTCHNSTAT_closed,
    Unbound = EVTCHNSTAT_unbound,
    Interdomain = EVTCHNSTAT_interdomain,
    Pirq = EVTCHNSTAT_pirq,
    Virq = EVTCHNSTAT_virq,
    Ipi = EVTCHNSTAT_ipi,
};

struct Port {
    PortKind kind = PortKind::Free;
    std::atomic<u8> priority{EVTCHN_FIFO_PRIORITY_DEFAULT};
    std::atomic<bool> raised_early{false}; // FIFO: became pending before its page of the event array was there
    u8 queued_priority = 0;                // FIFO: the queue it was linked to last (FifoState::lock)
    u16 remote_id = 0;                     // Unbound: who may bind; Interdomain: the peer's owner
    u16 queued_vcpu = 0;
    std::atomic<u32> vcpu{0};      // whom it notifies
    u32 number = 0;                // Interdomain: the peer's port; Virq, Pirq: which
    Domain* peer_domain = nullptr; // Interdomain
    Port* peer = nullptr;
};

inline constexpr u32 ports_per_chunk = 128;
struct PortChunk {
    std::array<Port, ports_per_chunk> ports;
};

// Ports come in chunks that are only ever added until the domain is gone, so that a Port* stays valid.
struct PortTable {
    std::array<PortChunk*, EVTCHN_FIFO_NR_CHANNELS / ports_per_chunk> chunks{};
    u32 lowest_free = 1; // no free port below it; port 0 is never used
    u32 open = 0;
    u32 close_cursor = 0; // where close_some() and reset go on
    std::array<u32, max_pirqs> pirq_port{};

    // The one door for port numbers that a guest chose: nullptr if it is not a port.
    Port* at(PortNo no) {
        if (no.n == 0 || no.n >= EVTCHN_FIFO_NR_CHANNELS)
            return nullptr;
        PortChunk* chunk = chunks[no.n / ports_per_chunk];
        return chunk ? &chunk->ports[no.n % ports_per_chunk] : nullptr;
    }
};

struct EventState {
    Guarded<PortTable, Rank::Events> ports;
    std::atomic<FifoState*> fifo{nullptr}; // not null: the FIFO ABI is in use. Changed under the Events lock.
};

// --- delivery (core/events.cpp); caller holds the Events lock of either end ---
void make_pending(Domain&, PortNo, Port&);
void clear_pending(Domain&, PortNo, Port&);
void unmask_port(Domain&, PortNo, Port&);
void mark_upcall(Vcpu&);

// --- ports (core/events_ports.cpp); caller holds the domain's Events lock ---
// A free port, not yet open: set its kind (and what belongs to it) to open it. Err::Inval: dying; NoSpace; NoMem.
Result<PortNo> take_port(Domain&, PortTable&);
void free_port(Domain&, PortTable&, PortNo, Port&); // kind becomes Free; unlinks virq and pirq, not a peer
Result<void> close_port(Domain&, PortNo);           // takes the locks itself

inline bool set_bit(u64& word, u32 bit) { // true: it was set already
    return (__atomic_fetch_or(&word, u64{1} << bit, __ATOMIC_SEQ_CST) >> bit) & 1;
}
inline bool clear_bit(u64& word, u32 bit) {
    return (__atomic_fetch_and(&word, ~(u64{1} << bit), __ATOMIC_SEQ_CST) >> bit) & 1;
}
inline bool test_bit(const u64& word, u32 bit) {
    return (__atomic_load_n(&word, __ATOMIC_SEQ_CST) >> bit) & 1;
}

} // namespace domus::hv
