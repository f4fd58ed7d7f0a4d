// The fake machine: what arch/iface says, for hosted tests. RAM of some thousand frames with a direct map, several CPUs
// that a test takes turns with, a clock that the test moves, guest memory through the guest's own page tables or a
// plain window, the console's text, and a memory of every write to a page-table entry with a judgement of each.
//
//     auto& m = fake::machine();
//     m.current(vcpu);                        // who makes hypercalls from now on
//     ... run the code under test ...
//     for (auto& past : m.history()) EXPECT_TRUE(past.safe()) << past.why;
//
// One machine per process; start() is implied by the first use. Not thread-safe.
#pragma once

#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_table.hpp"

#include <cstring>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace domus::fake {

using namespace domus::hv;

inline constexpr u64 ram_frames = 8192;      // frame_limit()
inline constexpr u64 first_free_frame = 256; // below: devices (the first MiB)
inline constexpr u32 cpus = 4;
inline constexpr u64 window_base = 0x100000; // guest address of the plain window
inline constexpr usize window_size = 0x100000;
inline constexpr u64 hypervisor_slot_value = 0x00000badc0de0063; // what copy_hypervisor_slots puts there

// The hypervisor stopped the machine: panic, power off, reboot.
struct Stopped : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// One write to a page-table entry, as it happened.
struct PastWrite {
    Mfn table;
    u32 index;
    u64 before, after;
    std::string why; // the rule it broke, empty: none
    bool safe() const { return why.empty(); }
};

// Somebody who follows what happens to page tables and translations as it happens (tests/guard).
struct Watcher {
    virtual ~Watcher() = default;
    virtual void entry_written(Mfn table, u32 index, u64 before, u64 after) = 0;
    virtual void flushed(arch::CpuMask) = 0; // all translations of these CPUs are forgotten
};

class Machine {
public:
    Machine();

    // A long run has its own watcher and no use for the history and the model of stale translations here.
    Watcher* watcher = nullptr;
    bool remembers = true;

    // CPUs. current(): that vcpu runs on the CPU whose turn it is.
    void current(Vcpu& vcpu);
    void turn(u32 cpu) { this_cpu_ = cpu; }
    u32 this_cpu() const { return this_cpu_; }
    Vcpu& current() const { return *vcpus_[this_cpu_]; }
    u64 loaded_root() const { return roots_[this_cpu_]; }
    int kicks = 0;
    int cache_flushes = 0;

    // Time, in ns.
    u64 now = 1'000'000'000;
    u64 deadline = ~u64{0};

    // Preemption: every `yield_every`th question of must_yield() is answered yes (0: never).
    u32 yield_every = 0;
    // So many exchanges of entries come too late: the processor of another vcpu set or cleared the accessed bit before.
    u32 late_exchanges = 0;

    std::string console;

    // RAM
    u8* frame(Mfn);
    u64* table(Mfn mfn) { return reinterpret_cast<u64*>(frame(mfn)); }

    // The plain window: values put there have guest addresses that hypercalls can read.
    u8* window(u64 guest_address, usize bytes); // nullptr: not inside
    template <class T>
    u64 put(const T& value, u64 at = window_base) {
        std::memcpy(window(at, sizeof value), &value, sizeof value);
        return at;
    }
    template <class T>
    T get(u64 at = window_base) {
        T value;
        std::memcpy(&value, window(at, sizeof value), sizeof value);
        return value;
    }

    const std::vector<PastWrite>& history() const { return history_; }
    void forget_history() { history_.clear(); }

    // What the raw tables say, recomputed without the hypervisor's counts, against what it believes. Each line is a
    // broken invariant. `roots`: L4 tables held by vcpus (each mention is one reference).
    std::vector<std::string> audit(const std::vector<Mfn>& roots = {});
    // Frames that a guest may still write to through a translation that was not flushed.
    const std::set<u64>& stale_writable() const { return stale_writable_; }

    // For the implementation of arch/iface.
    void note_write(Mfn table, u32 index, u64 before, u64 after);
    void note_flush(arch::CpuMask);
    bool question();
    void load_root(u64 root) { roots_[this_cpu_] = root; }
    std::map<u64, u64> m2p;
    std::vector<int> ranks[cpus];
    std::vector<FrameInfo> infos;

private:
    std::string judge(Mfn table, u32 index, u64 value) const;

    u8* ram_;
    std::vector<u8> window_;
    std::vector<PastWrite> history_;
    std::set<u64> stale_writable_;
    Vcpu* vcpus_[cpus] = {};
    u64 roots_[cpus] = {};
    u32 this_cpu_ = 0;
    u32 questions_ = 0;
};

Machine& machine();

// Frames that L1 tables in force allow a guest to write, recomputed from raw memory.
std::multiset<u64> writable_frames(Machine&);

} // namespace domus::fake
