// The console hypercall and the console's input. Guests write lines (dom0 raw, others with a prefix); dom0 reads what
// is typed. Ctrl-a three times switches the input between dom0 and the hypervisor's debug keys.
// Lock: Rank::Console inside. Called by the hypercall table, sysctl, and the exit path (input).
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// __HYPERVISOR_console_io. CONSOLEIO_write: 0. CONSOLEIO_read: the number of bytes read. Source: <xen/xen.h>.
Result<i64> console_io(Call&, i32 command, i32 count, GuestPtr<char> buffer);

// A character came in on the serial line. Exit path, no lock held (it raises VIRQ_CONSOLE).
void console_input(char);

// A debug key, as typed at the console or given by XEN_SYSCTL_debug_keys.
void debug_key(char);

// How key 'd' prints the registers of the CPU: arch sets it at start-up.
extern void (*dump_registers_hook)();

} // namespace domus::hv
