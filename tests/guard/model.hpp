// The guard's model: who can write what, recomputed from the raw page tables after every step, and the security
// property checked on it. It believes the hypervisor in three things only: which roots are in force, who owns a frame,
// and which frames it will take for validated tables without looking again (those must be as safe as reachable ones).
//
// Translations that CPUs may hold: whatever a running domain's tables allowed at any moment since that CPU's last whole
// flush; loads of CR3 and INVLPG are not counted on. The same for tables that a CPU may still walk through.
//
// Fast by comparison: the contents of each table are remembered, and read again only when they differ.
// Owner: a World. Not thread-safe; one per process (it watches the fake machine).
#pragma once

#include "tests/fake/machine.hpp"

#include <map>
#include <memory>

namespace domus::guard {

using namespace domus::hv;

inline constexpr u32 most_parties = 6;

struct Rights { // outstanding grant mappings of one frame by one domain
    int any = 0, write = 0;
};

class Model : public fake::Watcher {
public:
    Model();
    ~Model() override;

    // Domains whose vcpus may run, by slot; nullptr: none.
    std::array<Domain*, most_parties> parties{};
    bool superpages = true;                       // tables in force may have them
    std::map<std::pair<u16, u64>, Rights> rights; // {domain, frame}
    std::map<u64, u8> shared; // frames that the hypervisor writes to as a party's grant table, as the party was told

    void dies(u32 party); // it never runs again
    void check();         // after every step
    void counts();        // now and then: everything that counts, and free frames
    void fail(std::string);
    const std::vector<std::string>& broken() const { return broken_; }

    // Frames that the CPU may be able to write by a translation, current or stale.
    std::vector<u64> writable_by(u32 cpu) const;

    void entry_written(Mfn table, u32 index, u64 before, u64 after) override;
    void flushed(arch::CpuMask) override;

private:
    struct Contents {
        std::array<u64, 512> raw;
        std::vector<std::pair<u16, u64>> present;
        bool known = false;
    };
    struct Reached {
        u32 frame;
        u8 level, party;
        bool operator==(const Reached&) const = default;
    };
    struct Leaf {
        u32 frame, table;
        u16 index;
        u8 party;
        bool writable;
    };
    struct Stale {
        u8 writable_on = 0, table_on = 0;       // CPUs
        std::array<u8, most_parties> writers{}; // of writable_on, by whose tables allowed it
        u16 owner = 0;                          // whose frame it was then
        bool listed = false;
    };

    bool read(u32 frame); // true: it changed
    std::vector<Reached> starts() const;
    bool changed();
    void walk();
    void reach(Reached);
    bool is_hook(const Reached&, u16 index, u64 value) const;
    void enter_upper(const Reached&);
    void enter_superpage(const Reached&, u16 index, u64 value);
    void enter_l1(const Reached&);
    void remember_translations();
    void note_stale(u64 frame, u8 party, bool as_table);
    arch::CpuMask cpus_of(u8 party) const;
    void check_leaf(const Leaf&);
    void check_grants();
    void check_segments();
    void check_shared();
    void check_stale();
    void check_withdrawn(u32 frame, const Domain* owner);
    bool is_segments(u64 frame) const { return segments_[frame] == step_; }
    u16 owner_of(u64 frame) const;

    std::vector<Contents> contents_;
    std::vector<u8> level_, party_; // of frames reached in the last walk, 0: none
    std::vector<u64> segments_;     // number of the step in which the frame was a descriptor table in force
    std::vector<Reached> tables_, starts_;
    std::vector<Leaf> leaves_;
    std::vector<Stale> stale_;
    std::vector<u32> stale_list_;
    std::vector<std::string> found_; // broken rules of form, by the last walk
    std::vector<std::string> broken_;
    u64 step_ = 1;
    bool fresh_ = false; // translations of the last walk are remembered
};

} // namespace domus::guard
