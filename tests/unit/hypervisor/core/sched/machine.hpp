// A simulated machine for the scheduler's tests: CPUs with one-shot deadlines, a clock that only the test moves, guests
// that burn time. It does what arch's exit path does: due timers, choose_next, switch, switched_in.
#pragma once

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace domus::test {

using namespace domus::hv;

inline constexpr u64 ms = 1'000'000;
inline constexpr u64 second = 1'000'000'000;

struct Cpu {
    u64 deadline = ~u64{0};
    bool pending = false;
    Vcpu* current = nullptr;
    std::unique_ptr<Vcpu> idle;
};

class Machine {
public:
    explicit Machine(u32 cpus = 1);
    ~Machine();

    Domain& make_domain(u32 vcpus, u32 weight = 256, u32 cap = 0);
    // A vcpu that is up and not paused.
    static void run(Domain& domain);

    // Let every CPU's guest run for `ns`; interrupts come when they are due.
    void advance(u64 ns);
    // The exit path of one CPU, if something is pending there.
    void exit_path(u32 cpu);
    void exit_paths();
    // As hypercalls do: on the vcpu's CPU, followed by the exit path.
    void as(Vcpu& vcpu, const std::function<void()>& call);
    Call call_of(Vcpu& vcpu) { return Call{vcpu, vcpu.domain, {}}; }

    u64 now = second; // not zero, so that "never" and "long ago" are not mixed up
    u32 cpu_here = 0;
    std::vector<Cpu> cpus;
    std::vector<std::unique_ptr<Domain>> domains;
    arch::TscScale scale{.tsc_timestamp = 1, .system_time = 0, .tsc_to_system_mul = 0x80000000, .tsc_shift = 1};
    std::function<void()> before_pending_check; // staged between a vcpu's stopping and its look for events
    std::function<void()> on_read_of_port;      // the same for sched_op poll
    std::set<u32> pending_ports;
    std::vector<std::pair<Vcpu*, u32>> virqs; // raised
    std::vector<int> shutdowns;               // reasons
    std::map<u64, u8> guest;                  // guest memory; absent bytes fault unless `mapped`
    std::set<u64> mapped;                     // page numbers
    std::vector<std::pair<u64, std::vector<u8>>> guest_writes;
    int held_locks = 0;

private:
    std::unique_ptr<Domain> idle_domain_;
};

extern Machine* machine; // the one in use

} // namespace domus::test
