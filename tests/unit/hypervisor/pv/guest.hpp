// A guest's memory for tests: a domain with one vcpu on the fake machine, frames of its own, and tables that it fills
// in as a guest would. At the end the domain is destroyed and every frame must have come back.
#pragma once

#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/hypercalls_memory.hpp"
#include "hypervisor/pv/mmu_hypercalls.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/fake/machine.hpp"

#include <gtest/gtest.h>

namespace domus::test {

using namespace domus::hv;

inline constexpr u64 rw = entry::present | entry::writable | entry::user | entry::accessed | entry::dirty;
inline constexpr u64 ro = entry::present | entry::user | entry::accessed;

struct Guest {
    DomainRef domain;
    Vcpu& vcpu() const { return *domain->vcpus[0]; }
    Mfn frame() const;                                                                   // one more of its own
    static u64& at(Mfn table, u32 index) { return fake::machine().table(table)[index]; } // raw memory
};

class MemoryTest : public testing::Test {
protected:
    MemoryTest();
    ~MemoryTest() override;

    Guest make_guest(u64 frames = 1024, bool privileged = false);
    void destroy(Guest&);
    // From now on hypercalls come from that guest.
    void as(const Guest& g) { m.current(g.vcpu()); }

    // Runs a hypercall handler until it is done (Err::Restart: again with the arguments it left).
    template <class Body>
    Result<i64> run(Body&& body) {
        Call call{arch::current_vcpu(), arch::current_vcpu().domain, {}};
        for (restarts = 0;; ++restarts) {
            auto result = body(call);
            if (result || result.error() != Err::Restart)
                return result;
            if (restarts > 100000)
                throw fake::Stopped("a hypercall restarts for ever");
        }
    }
    Result<i64> update(std::vector<mmu_update_t> list, u32 foreign = DOMID_SELF);
    Result<i64> update_one(Mfn table, u32 index, u64 value, u32 command = MMU_NORMAL_PT_UPDATE,
                           u32 foreign = DOMID_SELF) {
        return update({{base_of(table).n + index * 8 + command, value}}, foreign);
    }
    Result<i64> ext(std::vector<mmuext_op_t> list, u32 foreign = DOMID_SELF);
    Result<i64> ext(u32 command, Mfn mfn, u32 foreign = DOMID_SELF) {
        mmuext_op_t op{};
        op.cmd = command;
        op.arg1.mfn = mfn.n;
        return ext({op}, foreign);
    }
    template <class T>
    Result<i64> memory(u32 command, T& argument) {
        m.put(argument, fake::window_base + 0x80000);
        u64 raw = command;
        auto result = run([&](Call& call) {
            auto r = memory_op(call, raw, GuestPtr<void>{fake::window_base + 0x80000});
            raw = call.args[0];
            return r;
        });
        argument = m.get<T>(fake::window_base + 0x80000);
        return result;
    }

    // Four tables that map `targets` (with flags) from address 0 on; the L4, unpinned and not validated.
    struct Tables {
        Mfn l4, l3, l2, l1;
    };
    Tables build(const Guest& g);

    // Nothing unsafe ever happened, and the counts are what the raw tables say.
    void expect_sound(std::vector<Mfn> roots = {});

    fake::Machine& m = fake::machine();
    u32 restarts = 0;
    u32 done = 0; // what the last list hypercall reported
    u64 free_before;
};

} // namespace domus::test
