// The hypervisor's log: levels, rate limit for what guests can cause, and why-messages for refused operations.
// Every line goes to the console and into the ring that `domus dmesg` (sysctl readconsole) reads: core/console_ring.
// Lock: Rank::Console inside. Callable with any lock held.
#pragma once

#include "hypervisor/core/format.hpp"

namespace domus::hv {

struct Domain;

enum class Level : u8 { Error = 0, Warning = 1, Info = 2, Debug = 3 };

// Options loglvl= and guest_loglvl=: the most verbose level that is printed on the serial line. The ring that `domus
// dmesg` reads keeps everything up to Info as well, so that nobody has to boot again to learn why.
void set_log_levels(Level hypervisor, Level guest);

// The level named by a word of the command line ("error", "warning", "info", "debug", "all", "none"); `fallback` if
// none.
Level level_named(std::string_view word, Level fallback);

void log_line(Level, std::string_view text);                      // "(domus) ..."
void log_guest_line(Level, const Domain&, std::string_view text); // "d3: ...", rate-limited per domain
void log_refusal(const Domain&, std::string_view text);           // counts Count::Refused as well

template <class... Args>
void log(Level level, std::string_view pattern, const Args&... args) {
    char buffer[256];
    log_line(level, format_to(buffer, pattern, args...));
}

// What a domain asked to have logged: within its limit.
template <class... Args>
void log_for(const Domain& domain, Level level, std::string_view pattern, const Args&... args) {
    char buffer[256];
    log_guest_line(level, domain, format_to(buffer, pattern, args...));
}

// Why an operation of this domain was refused: the rule, and the frame or port. Level Info, followed by the vcpu that
// asked and the guest address it asked from: `[d1v0 at 0xffffffff81001234]`.
// Apart from the code that calls it, which is often hot: what is told is passed by value and formatted out of line.
template <class... Args>
[[gnu::cold, gnu::noinline]] void why(const Domain& domain, std::string_view pattern, Args... args) {
    char buffer[256];
    log_refusal(domain, format_to(buffer, pattern, args...));
}

// The end: registers, stack, last trace records; never returns.
[[noreturn]] void panic_text(std::string_view text);
template <class... Args>
[[noreturn]] void panic(std::string_view pattern, const Args&... args) {
    char buffer[256];
    panic_text(format_to(buffer, pattern, args...));
}

// A broken invariant of the hypervisor's own, never of what a guest controls. Debug builds only.
#ifdef DOMUS_DEBUG
#define assert_slow(condition)                                                                                         \
    ((condition) ? void(0) : ::domus::hv::panic("broken invariant: " #condition " at " __FILE__ ":{}", __LINE__))
#else
#define assert_slow(condition) void(0)
#endif

} // namespace domus::hv
