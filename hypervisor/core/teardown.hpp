// The end of a domain, in steps that can stop and go on. Lock: Rank::Control held by the caller.
#pragma once

#include "hypervisor/core/domain.hpp"

namespace domus::hv {

// Give back all memory the domain owns: unpin, untype, free. Preemptible: Err::Restart. Owned by
// pv/teardown_memory.cpp.
Result<void> relinquish_memory(Call&, Domain&);

// Domains whose last reference went, linked by Domain::next_unreferenced.
extern std::atomic<Domain*> unreferenced_domains;
void free_unreferenced_domains();

// Free them. Exit path and the end of a control operation; no lock held.
inline void reap_domains() {
    if (unreferenced_domains.load(std::memory_order_relaxed)) [[unlikely]]
        free_unreferenced_domains();
}

} // namespace domus::hv
