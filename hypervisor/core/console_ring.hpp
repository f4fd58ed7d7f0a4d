// The hypervisor's own console: what it prints goes to the serial line and into a ring that
// XEN_SYSCTL_readconsole (`domus dmesg`) reads. Lock: Rank::Console inside. Called by core/log and core/console_io.
// Must not: take any other lock, or raise events (callers may hold any lock). See console_announce().
#pragma once

#include "hypervisor/base/types.hpp"

#include <span>
#include <string_view>

namespace domus::hv {

inline constexpr u32 console_ring_bytes = 64 * 1024; // a power of two

// One line, with prefix and newline added, printed whole: lines of two CPUs never mix.
// The ring keeps also what is too quiet for the serial line.
enum class Shown { Everywhere, InRing };
void console_print_line(std::string_view prefix, std::string_view text, Shown = Shown::Everywhere);

// Raw bytes to the serial line only (dom0's own output: it keeps its own log).
void console_print_raw(std::string_view bytes);

// A panic prints although this CPU or a dead one may hold the lock.
void console_print_in_panic(std::string_view bytes);

// Copy out text from ring position `index` on (positions count bytes since start, modulo 2^32; older text than the
// ring holds is skipped). Returns the number of bytes copied; `index` moves behind them.
u32 console_ring_read(u32& index, std::span<char> to);
u32 console_ring_start();  // position of the oldest byte that is kept and was not cleared
void console_ring_clear(); // forget everything so far

// New text since the last call? Then VIRQ_CON_RING is raised. Exit path, no lock held; cheap when there is nothing.
void console_announce();

} // namespace domus::hv
