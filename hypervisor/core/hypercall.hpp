// How a hypercall is written: one function whose parameters are the registers, one row in the table.
//
//   Result<i64> event_channel_op(Call&, i32 command, GuestPtr<void> argument);
//   OFFERED(__HYPERVISOR_event_channel_op, bind<event_channel_op>, Guest),
//
// Long work: `if (must_yield()) return call.resume_later(new_arg0, new_arg1, ...);` the arguments are rewritten and
// the hypercall runs again from its first instruction after the CPU did what waited. Table: boot/hypercall_table.cpp.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/core/guest_memory.hpp"

#include <array>
#include <string_view>

namespace domus::hv {

struct Domain;
struct Vcpu;

// One hypercall in progress. The order of the members is known to fast_hypercall.S.
struct Call {
    Vcpu& vcpu;
    Domain& domain;
    std::array<u64, 6> args;

    // Rewrite the first arguments and run the hypercall again later.
    template <class... Args>
    Err resume_later(Args... values) {
        usize i = 0;
        ((args[i++] = static_cast<u64>(values)), ...);
        return Err::Restart;
    }
};

enum class May : u8 { Guest, Dom0 }; // who may call; sub-operations may ask for more

using Handler = Result<i64> (*)(Call&);

namespace detail {
template <class T>
constexpr T from_register(u64 raw) {
    if constexpr (std::is_integral_v<T>)
        return static_cast<T>(raw);
    else
        return T{raw}; // GuestPtr, Vaddr, Mfn ...
}
template <auto F>
struct Binder;
template <class R, class... Params, R (*F)(Call&, Params...)>
struct Binder<F> {
    template <usize... I>
    static Result<i64> call(Call& call, std::index_sequence<I...>) {
        if constexpr (std::is_same_v<R, Result<void>>) {
            TRY(F(call, from_register<Params>(call.args[I])...));
            return i64{0};
        } else {
            return F(call, from_register<Params>(call.args[I])...);
        }
    }
    static Result<i64> run(Call& c) { return call(c, std::index_sequence_for<Params...>{}); }
};
} // namespace detail

template <auto F>
inline constexpr Handler bind = &detail::Binder<F>::run;

// Run hypercall `number` for the current vcpu (table: boot/hypercall_table.cpp). The result is what the guest sees in
// rax, or Err::Restart.
Result<i64> dispatch(u32 number, Call&);

// Start-up: which of them the short way of arch/x86_64/fast_hypercall.S may call; none unless switched on here.
inline constexpr u32 hypercall_numbers = 64;
extern "C" Handler short_hypercalls[hypercall_numbers];
void switch_short_hypercalls_on();

// Those that any guest may call and a multicall may hold; nullptr: judged at length.
extern const std::array<Handler, hypercall_numbers> listed_hypercalls;

// Its name without __HYPERVISOR_; empty: not offered.
std::string_view hypercall_name(u32 number);

// Should long work stop here? Lets interrupts in for a moment, so not while the caller could not resume.
inline bool must_yield() {
    arch::take_interrupts();
    return arch::has_pending_work();
}

} // namespace domus::hv
