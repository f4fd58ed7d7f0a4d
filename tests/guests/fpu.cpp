// FPU state and XCR0: a new vcpu's registers hold nothing of another's, however wide; what is not allowed is refused.
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/smp.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/time.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr u64 second = 1'000'000'000;
constexpr u64 x87 = 1, sse = 2, avx = 4, pkru = 1u << 9;

unsigned last_vector;

void step_over(Frame& frame) {
    last_vector = static_cast<unsigned>(frame.vector);
    frame.rip += 3; // XSETBV and XGETBV are three bytes
}

// Vector + 1 of the exception, or 0.
unsigned try_xsetbv(u32 number, u64 value) {
    last_vector = ~0u;
    asm volatile("xsetbv" ::"a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)), "c"(number) : "memory");
    return last_vector + 1;
}

// XGETBV and XSETBV are there once a kernel has said so. (Domus does not wait for that, Xen does.)
void enable_xsave() {
    constexpr u64 osxsave = 1u << 18;
    u64 cr4;
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    asm volatile("mov %0, %%cr4" ::"r"(cr4 | osxsave));
}

u64 xgetbv() {
    u32 low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return u64{high} << 32 | low;
}

bool has_avx() {
    u32 a = 1, b, c = 0, d;
    asm volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); // ud2; "xen"
    constexpr u32 xsave_and_avx = 1u << 26 | 1u << 28;
    return (c & xsave_and_avx) == xsave_and_avx;
}

struct Wide {
    u64 lane[4];
    bool is(u64 mark) const { return lane[0] == mark && lane[1] == mark && lane[2] == mark && lane[3] == mark; }
};
Wide read_ymm() {
    Wide w;
    asm volatile("vmovdqu %%ymm15, %0" : "=m"(w));
    return w;
}
void write_ymm(u64 mark) {
    const Wide w{{mark, mark, mark, mark}};
    asm volatile("vmovdqu %0, %%ymm15" ::"m"(w));
}

volatile u64 done;
u64 other_xcr0;
Wide other_found;

void second_vcpu(u64) {
    enable_xsave();
    other_xcr0 = xgetbv();
    try_xsetbv(0, x87 | sse | avx);
    other_found = read_ymm();
    write_ymm(0x2222);
    done = 1;
    const u64 end = system_time() + second / 20;
    while (system_time() < end) // is preempted with its own marks in the registers
        ;
    done = read_ymm().is(0x2222) ? 2 : 3;
    bring_down(1);
}

void limits() {
    constexpr unsigned general_protection = 13 + 1;
    check(try_xsetbv(0, 0) == general_protection, "nothing_enabled", "vector %u", last_vector);
    check(try_xsetbv(0, sse) == general_protection, "sse_without_x87", "vector %u", last_vector);
    check(try_xsetbv(0, x87 | avx) == general_protection, "avx_without_sse", "vector %u", last_vector);
    check(try_xsetbv(0, x87 | sse | pkru) == general_protection, "state_not_offered", "vector %u", last_vector);
    check(try_xsetbv(0, x87 | u64{1} << 63) == general_protection, "reserved_bit", "vector %u", last_vector);
    check(try_xsetbv(1, x87) == general_protection, "register_that_is_none", "vector %u", last_vector);
}

void two_vcpus() {
    check(try_xsetbv(0, x87 | sse | avx) == 0 && xgetbv() == (x87 | sse | avx), "avx_enabled", "vector %u",
          last_vector);
    write_ymm(0x1111);
    expect(initialise_vcpu(1, second_vcpu, 0), 0, "initialise");
    expect(bring_up(1), 0, "bring_up");
    check(wait_for_change(&done, 0, second), "second_vcpu_runs");
    check((other_xcr0 & avx) == 0, "new_vcpu_has_a_fresh_xcr0", "%lx", other_xcr0); // x87; on Xen SSE as well
    check(other_found.is(0), "wide_registers_do_not_leak", "upper lanes %lx %lx", other_found.lane[2],
          other_found.lane[3]);
    check(wait_for_change(&done, 1, second) && done == 2, "wide_registers_of_the_second_come_back", "%lu", done);
    const Wide mine = read_ymm();
    check(mine.is(0x1111), "wide_registers_of_the_first_come_back", "%lx %lx %lx %lx", mine.lane[0], mine.lane[1],
          mine.lane[2], mine.lane[3]);
}

} // namespace

void guest_main() {
    on_trap(13, step_over);
    on_trap(6, step_over);
    enable_xsave();
    limits();
    if (check(has_avx(), "processor_has_avx"))
        two_vcpus();
    finish();
}
