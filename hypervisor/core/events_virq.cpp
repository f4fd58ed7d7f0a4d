// Virtual interrupts: which are global, who handles those of the machine, and binding them to ports.
// Lock: Rank::VirqHandlers (the table of handlers), then Rank::Events.
#include "hypervisor/core/events.hpp"

#include "hypervisor/core/events_state.hpp"

namespace domus::hv {
namespace {

// Empty: dom0 handles it. The domain is not counted: a dying domain takes itself out (forget_virq_handler).
struct Handlers {
    std::array<Domain*, NR_VIRQS> domains{};
};
constinit Guarded<Handlers, Rank::VirqHandlers> handlers;

} // namespace

bool is_global_virq(u32 virq) {
    return virq < NR_VIRQS && virq != VIRQ_TIMER && virq != VIRQ_DEBUG && virq != VIRQ_XENOPROF && virq != VIRQ_XENPMU;
}

void raise_global_virq_of_machine(u32 virq) {
    handlers.with([&](Handlers& h) {
        Domain* handler = h.domains[virq] ? h.domains[virq] : dom0();
        if (handler)
            handler->events.raise_global_virq(virq);
    });
}

Result<void> set_global_virq_handler(Domain& domain, u32 virq) {
    if (!is_global_virq(virq))
        return Err::Inval;
    return handlers.with([&](Handlers& h) -> Result<void> {
        if (domain.life.load() >= Life::Dying)
            return Err::Inval;
        if (h.domains[virq] && h.domains[virq] != &domain)
            return Err::Busy;
        h.domains[virq] = &domain == dom0() ? nullptr : &domain;
        return {};
    });
}

void forget_virq_handler(const Domain& domain) {
    handlers.with([&](Handlers& h) {
        for (Domain*& handler : h.domains) {
            if (handler == &domain)
                handler = nullptr;
        }
    });
}

} // namespace domus::hv
