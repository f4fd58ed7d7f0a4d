// A small machine for tests of event channels, grants, console and sysctl. RAM is an array; a guest address is the
// address of a byte in the test itself, or one that faults. Locks are checked against their ranks. What is replaced:
// the scheduler (notify is recorded), page tables (an entry per host address), context, clock.
#pragma once

#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"

#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

namespace domus::test {

using namespace domus::hv;

inline constexpr u64 ram_frames = 8192;

// What the stand-in for page tables holds: entry address -> frame and flags.
struct GrantEntry {
    u64 frame;
    u32 flags;
};

class Machine {
public:
    Machine();
    ~Machine(); // every domain that is left is taken down; all memory must come back

    Domain& make_domain(u16 id, u32 vcpus = 1, bool privileged = false);
    // The end of a domain, as teardown does it (without page tables).
    void kill(Domain&);

    Mfn page(Domain&); // a frame of the domain, zeroed
    template <class T>
    T* at(Mfn frame) {
        return arch::frame_as<T>(frame);
    }
    Call call(Domain& d, u32 vcpu = 0);

    // Hypercalls: 0 or above, or minus the error; Restart runs again with the new arguments, as the dispatcher does.
    i64 events(Domain& d, u32 command, void* argument);
    i64 grants(Domain& d, u32 command, void* argument, u32 count = 1);

    u32 notified(const Vcpu& v) const; // times

    std::string printed;
    std::vector<const Vcpu*> notifications;
    std::map<u64, GrantEntry> entries; // host address -> mapping
    Err map_error{};                   // not zero: map_grant_pte fails
    u32 flushes = 0;
    bool work_waits = false; // must_yield() answers true
    u32 yields = 0;
    u64 now = 1'000'000'000;
    std::function<void()> on_flush;
    std::function<void()> before_guest_copy; // another vcpu of the guest does something meanwhile

private:
    u64 free_before_;
    std::vector<Domain*> domains_;
};

extern Machine* machine;

// Every test has a fresh machine.
class MachineTest : public ::testing::Test {
protected:
    Machine m;
};

inline i64 minus(Err e) {
    return -static_cast<i64>(e);
}

} // namespace domus::test
