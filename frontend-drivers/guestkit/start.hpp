// Start and end of a mini guest, and what it was told at its start. A guest is `int guest_main()`.
#pragma once

#include "frontend-drivers/guestkit/hypercall.hpp"

#include <string_view>

// The guest. Runs on vcpu 0 with traps, events and console set up; its return shuts the domain down (poweroff).
void guest_main();

namespace domus::guest {

inline constexpr u64 stack_size = 16384; // of every vcpu, aligned to its size

extern const start_info_t* boot_info;
extern shared_info_t* shared; // mapped over a page of the guest's own

std::string_view command_line();
bool is_dom0();

// Ends the domain: SHUTDOWN_poweroff, _reboot, _crash... Does not return.
[[noreturn]] void shut_down(unsigned reason);

// Prints why and ends with SHUTDOWN_crash.
[[noreturn]] void die(const char* format, ...) __attribute__((format(printf, 1, 2)));

} // namespace domus::guest
