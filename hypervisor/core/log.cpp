// The hypervisor's log. Owner: this file. Lock: Rank::Console inside console_ring; levels are set at start-up.
#include "hypervisor/core/log.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/guest_memory.hpp"
#include "hypervisor/core/perf.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constexpr u32 guest_lines_per_second = 100;
constexpr u64 second = 1'000'000'000;

constinit Level hypervisor_level = Level::Info;
constinit Level guest_level = Level::Info;

bool is_kept(Level level, Level limit) {
    return level <= std::max(limit, Level::Info);
}
Shown shown(Level level, Level limit) {
    return level <= limit ? Shown::Everywhere : Shown::InRing;
}

// May this domain print one more line in this second? The first refused line of a second is replaced by a notice.
enum class Budget { Print, Notice, Silent };
Budget take_budget(const Domain& domain) {
    // The budget is bookkeeping about the domain, not part of it: refusals are logged through const references.
    auto& d = const_cast<Domain&>(domain);
    const u64 window = arch::now().n / second;
    if (d.log_window != window) {
        d.log_window = window;
        d.log_budget.store(guest_lines_per_second, std::memory_order_relaxed);
    }
    const u32 left = d.log_budget.load(std::memory_order_relaxed);
    if (left == 0)
        return Budget::Silent;
    d.log_budget.store(left - 1, std::memory_order_relaxed);
    return left == 1 ? Budget::Notice : Budget::Print;
}

void print_for(Level level, const Domain& domain, std::string_view text) {
    char prefix[24];
    console_print_line(format_to(prefix, "(domus) d{}: ", domain.id), text, shown(level, guest_level));
}

// Takes from the budget; the line that finds it used up is replaced by a notice.
bool may_print(Level level, const Domain& domain) {
    if (!is_kept(level, guest_level))
        return false;
    const Budget budget = take_budget(domain);
    if (budget == Budget::Notice)
        print_for(level, domain, "more messages in this second are not shown");
    return budget == Budget::Print;
}

// Where the guest was: behind a hypercall's SYSCALL or at the instruction that trapped; if that is in a stub of the
// hypercall page (context.cpp: fill_hypercall_page), where the stub was called from.
u64 address_of(Vcpu& vcpu) {
    const GuestRegs& regs = arch::guest_regs(vcpu);
    constexpr u8 end_of_stub[] = {0x41, 0x5b, 0x59, 0xc3}; // pop r11; pop rcx; ret
    constexpr u64 popped = 16;
    u8 code[sizeof end_of_stub];
    u64 caller = 0;
    if (vcpu.domain.has_unhooked.load(std::memory_order_relaxed))
        return regs.rip; // a copy might need a lock, and the caller may hold any
    const bool in_stub = copy_in_bytes(code, regs.rip, sizeof code) &&
                         __builtin_memcmp(code, end_of_stub, sizeof code) == 0 &&
                         copy_in_bytes(&caller, regs.rsp + popped, sizeof caller);
    return in_stub ? caller : regs.rip;
}

} // namespace

void set_log_levels(Level hypervisor, Level guest) {
    hypervisor_level = hypervisor;
    guest_level = guest;
}

Level level_named(std::string_view word, Level fallback) {
    struct Name {
        std::string_view word;
        Level level;
    };
    constexpr Name names[] = {{"none", Level::Error},      {"error", Level::Error},  {"err", Level::Error},
                              {"warning", Level::Warning}, {"warn", Level::Warning}, {"info", Level::Info},
                              {"debug", Level::Debug},     {"all", Level::Debug}};
    // Xen's "lower/upper" form: the part before the slash is what is always printed, the one after it what is
    // printed within the rate limit. Here guests are always within a rate limit, so the upper one counts.
    if (const auto slash = word.find('/'); slash != std::string_view::npos)
        word = word.substr(slash + 1);
    for (const Name& name : names) {
        if (name.word == word)
            return name.level;
    }
    return fallback;
}

void log_line(Level level, std::string_view text) {
    if (is_kept(level, hypervisor_level))
        console_print_line("(domus) ", text, shown(level, hypervisor_level));
}

void log_guest_line(Level level, const Domain& domain, std::string_view text) {
    if (may_print(level, domain))
        print_for(level, domain, text);
}

void log_refusal(const Domain& domain, std::string_view text) {
    count(const_cast<Domain&>(domain), Count::Refused);
    if (!may_print(Level::Info, domain))
        return;
    Vcpu& caller = arch::current_vcpu();
    if (caller.is_idle) // at start-up, or in work that no guest asked for in this moment
        return print_for(Level::Info, domain, text);
    char line[320];
    print_for(Level::Info, domain,
              format_to(line, "{} [d{}v{} at {x}]", text, caller.domain.id, caller.id, address_of(caller)));
}

} // namespace domus::hv
