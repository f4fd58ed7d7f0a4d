// The FIFO event channel ABI: an array of event words and a control block per vcpu, both in guest memory.
// Lock: FifoState::lock (Rank::EventQueue) around linking; the Events lock of the owner around set-up.
//
// Rule (ISOLATION: FIFO event channels): control blocks and link words are hostile. The hypervisor never follows a
// link and never believes a head: it only appends behind the tail it remembers itself. Attempts to change a word that
// the guest keeps changing are bounded. A vcpu without a control block gets no event linked, nothing is dereferenced.
#pragma once

#include "hypervisor/core/events_state.hpp"

namespace domus::hv {

inline constexpr u32 fifo_words_per_page = page_size / sizeof(event_word_t);
inline constexpr u32 fifo_pages = EVTCHN_FIFO_NR_CHANNELS / fifo_words_per_page;

struct FifoVcpu {
    evtchn_fifo_control_block* control = nullptr; // in the guest's frame
    Mfn frame = invalid_mfn;
    std::array<u32, EVTCHN_FIFO_MAX_QUEUES> tail{}; // last port linked to each queue, 0: none
};

struct FifoState {
    Spinlock lock{Rank::EventQueue};
    std::array<std::atomic<event_word_t*>, fifo_pages> pages{};
    std::array<Mfn, fifo_pages> page_frames{};
    u32 page_count = 0;
    std::array<FifoVcpu*, max_vcpus_per_domain> vcpus{};

    event_word_t* word(PortNo no) {
        event_word_t* page = pages[no.n / fifo_words_per_page % fifo_pages].load(std::memory_order_seq_cst);
        return page ? page + no.n % fifo_words_per_page : nullptr;
    }
};

// Hypercall halves. Errors: docs/events-and-grants.md.
Result<void> fifo_init_control(Domain&, evtchn_init_control_t&);
Result<void> fifo_expand_array(Domain&, const evtchn_expand_array_t&);
Result<void> fifo_set_priority(Domain&, const evtchn_set_priority_t&);

// Delivery; caller holds the Events lock of either end.
bool fifo_raise(FifoState&, Domain&, PortNo, Port&); // true: it was not pending before
void fifo_unmask(FifoState&, Domain&, PortNo, Port&);
void fifo_clear_pending(FifoState&, PortNo, Port&);
bool fifo_is_pending(FifoState&, PortNo, const Port&);

// Back to the 2-level ABI, or the end of the domain: no port may be open. Gives all frames back.
void fifo_destroy(FifoState*);

} // namespace domus::hv
