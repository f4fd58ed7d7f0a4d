// Register state of the fake machine's CPU that is neither memory nor page tables: what arch/iface/context.hpp reads
// and writes, kept where a test can set it up and look at it. One for all CPUs: tests of it take no turns.
//
//     auto& cpu = fake::context();
//     cpu.fault_address = 0x1000;             // what the next page fault will name
//     ... run the code under test ...
//     EXPECT_EQ(cpu.fs_base, 0u);
#pragma once

#include "hypervisor/arch/iface/context.hpp"

#include <map>
#include <vector>

namespace domus::fake {

using namespace domus::hv;

struct PortAccess {
    u16 port;
    u32 bytes;
    bool in;
    u32 value;
    bool operator==(const PortAccess&) const = default;
};

struct Context {
    u64 fs_base = 0, gs_base = 0, other_gs_base = 0; // bases in force, and the GS base that is not
    u16 ds = 0, es = 0, fs = 0, gs = 0;
    u16 user_gs_selector = 0;   // what load_user_gs_selector was asked for last
    u64 fault_address = 0;      // CR2
    u64 debug_status = 0;       // DR6
    u64 debug_control = 0;      // DR7 as loaded last
    int debug_loads = 0;        // how often
    bool task_switched = false; // CR0.TS
    u64 xcr0 = 1, xcr0_allowed = 7;
    std::map<u32, u64> msrs;                  // those the CPU has; the others are #GP
    std::map<std::pair<u32, u32>, u64> cpuid; // {leaf, subleaf} to an index of answers
    std::vector<arch::CpuidResult> answers;   // those not named in `cpuid`: all bits one
    std::vector<PortAccess> ports;            // every access that reached the machine
    u32 port_value = 0;                       // what an input reads
    std::map<u32, Mfn> gdt, ldt;              // pages of the window used last, absent: unmapped
    int table_loads = 0;                      // load_descriptor_tables

    // The CPU's answer to one leaf.
    void answer(u32 leaf, u32 subleaf, arch::CpuidResult result) {
        cpuid[{leaf, subleaf}] = answers.size();
        answers.push_back(result);
    }
};

Context& context();
void reset_context(); // as after power-on

} // namespace domus::fake
