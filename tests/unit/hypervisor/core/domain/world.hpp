// A small machine for tests of domain life and control operations: 8 MiB of RAM, one CPU, dom0 with one vcpu that makes
// the calls, and a window of guest memory. RAM and dom0 are made once per process; tests prove that they give back all.
#pragma once

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/sched.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace domus::test {

using namespace domus::hv;

inline constexpr u64 window_base = 0x100000; // guest address of the window
inline constexpr usize window_size = 0x20000;

struct MachineEnds {
    std::string how;
};

struct World {
    u64 now = 1'000'000'000;
    u64 deadline = ~u64{0};
    bool pending = false;
    bool interrupts_wait = false; // what take_interrupts() brings in
    u32 yields_left = 0;          // so many times must_yield() says yes
    Vcpu* current = nullptr;
    int refused_contexts = 0; // set_guest_context: answer Err::Inval so many times
    int contexts_set = 0;
    int restarts = 0; // release_guest_context: answer Err::Restart so many times
    std::vector<std::string> log;
    std::vector<u8> window = std::vector<u8>(window_size);
    int held_locks = 0;
};
World& world();

// Each test starts with dom0 as the caller and ends with every frame back where it was.
class DomainTest : public testing::Test {
protected:
    DomainTest();
    ~DomainTest() override;

    // Put a value into the window and give its guest address; one place per `slot`.
    template <class T>
    u64 put(const T& value, u32 slot = 0) {
        std::memcpy(&world().window[slot * 0x2000], &value, sizeof value);
        return window_base + slot * 0x2000;
    }
    template <class T>
    T get(u32 slot = 0) {
        T value;
        std::memcpy(&value, &world().window[slot * 0x2000], sizeof value);
        return value;
    }
    Call call() { return Call{*world().current, world().current->domain, {}}; }

    // A control operation; `op` gets the answer. Restarted for as long as the hypervisor asks.
    Result<i64> control(u32 command, u16 domid, xen_domctl_t& op);
    Result<i64> control(u32 command, u16 domid) {
        xen_domctl_t op{};
        return control(command, domid, op);
    }
    u16 create(u32 vcpus = 1); // and makes its vcpus, and gives it 64 MiB to fill
    void destroy_it(u16 domid);
    // Frames of the domain's own; the first of them.
    Mfn give_frames(u16 domid, u32 count);
    static void exit_path();
    static DomainRef domain(u16 id) { return find_domain(DomId(id)); }

    u64 frames_before_;
};

} // namespace domus::test
