// Into the guest kernel: the frame pushed on its stack, and the switch between the guest's two modes.
#pragma once

#include "hypervisor/core/vcpu.hpp"

#include <optional>

namespace domus::hv {

struct Bounce {
    u64 entry = 0; // where the guest kernel continues; 0: it gave no handler
    u16 cs = FLAT_KERNEL_CS;
    bool mask_events = false;    // like an interrupt gate
    bool with_selectors = false; // failsafe callback: ds, es, fs, gs in the frame
    std::optional<u32> error_code{};
    std::string_view what{}; // for the log when it cannot be delivered
};

// Push the interrupted state on the guest kernel's stack and continue at the entry. Crashes the domain, with the reason
// in the log, when there is no handler or no stack.
void bounce_to_guest(Vcpu&, GuestRegs&, const Bounce&);

// The domain cannot go on: what happened, why, and the address that matters, for its log.
void crash_guest(Domain&, std::string_view what, std::string_view reason, u64 address);

// Deliver exception `vector` through the guest's trap table.
void bounce_trap(Vcpu&, GuestRegs&, u32 vector, u32 error_code);
void bounce_page_fault(Vcpu&, GuestRegs&, u64 address, u32 error_code);

// The guest's mode: root and GS base change places. No-ops when already there.
void enter_guest_kernel(Vcpu&);
bool enter_guest_user(Vcpu&); // false: the guest never gave a user root

inline constexpr u64 trap_has_error_code = u64{1} << 8 | 0x1f << 10 | u64{1} << 17 | u64{1} << 21;

} // namespace domus::hv
