// Physical interrupts as event channels see them: a bounded set of numbers, and hooks to whoever routes them (arch).
// Lock: the hooks run under Rank::Events of the domain and must not take lower ranks or raise events.
#pragma once

#include "hypervisor/base/result.hpp"

namespace domus::hv {

struct Domain;

inline constexpr u32 max_pirqs = 256;

struct PirqHooks {
    // May this domain use that interrupt, and is it set up? Then it is routed to the domain: raise_pirq() from now on.
    // Err::Perm, Err::Inval (no such interrupt), Err::Busy (another domain has it and sharing is not agreed).
    Result<void> (*bind)(Domain&, u32 pirq, bool will_share) = nullptr;
    void (*unbind)(Domain&, u32 pirq) = nullptr;
};

// Set by arch at start-up. While `bind` is null, EVTCHNOP_bind_pirq answers Err::Inval: no interrupt is routed.
extern PirqHooks pirq_hooks;

} // namespace domus::hv
