// The world of a run: a controller and up to four domains of two vcpus each on four CPUs, the first of them privileged,
// all hostile: they know every frame number, use stale translations, leave hypercalls half done, and die at any moment.
// What a step does follows from its bytes (step.hpp); after each one the model (model.hpp) judges. One per process.
//
//     World world;
//     for (const Step& step : steps)
//         if (!world.run(step))
//             break;             // world.model().broken() says what is wrong
//     world.end();               // all domains die: everything must come back
#pragma once

#include "hypervisor/core/hypercall.hpp"
#include "tests/guard/model.hpp"
#include "tests/guard/step.hpp"

namespace domus::guard {

inline constexpr u32 slots = 4, vcpus_each = 2, controller_slot = slots;
inline constexpr u32 counts_every = 64;
inline constexpr u64 first_frames = 40; // a new domain's

struct Grantable {
    u64 frame = 0;
    u32 uses = 0;
};

class World {
public:
    explicit World(bool remembers = false); // the fake machine's own judge too
    ~World();

    bool run(const Step&); // false: something is broken
    bool end();
    Model& model() { return model_; }
    u64 steps() const { return steps_; }

private:
    // A hypercall that has to go on, if its vcpu does.
    struct Pending {
        bool waits = false;
        u32 number = 0;
        std::array<u64, 6> args{};
    };
    struct Slot {
        DomainRef domain;
        bool dying = false;
        Mfn grant_frame{};
        Mfn block{}; // 1024 frames, aligned: room for two superpages; 0: it has none
        std::array<Pending, vcpus_each> pending;
        std::vector<u32> handles;           // grant mappings it holds, or held
        std::array<Grantable, 64> active{}; // its grants in use, by reference
    };
    struct Held { // what a handle stands for
        u32 granter, ref, flags;
        u64 frame, address;
    };

    // The acting vcpu of this step.
    Slot& me() { return slots_[slot_]; }
    Domain& domain() { return *slots_[slot_].domain; }
    Vcpu& vcpu() { return *domain().vcpus[vcpu_]; }
    u64 area() const { return fake::window_base + (slot_ * vcpus_each + vcpu_) * 0x10000; }

    // --- world.cpp
    static Vcpu& nobody(); // for CPUs that run no domain; it has no tables
    void act_as(u32 slot, u32 vcpu);
    void turn_to(Vcpu&);
    void check_unhooked();
    void create(u32 slot);
    void destroy(u32 slot);
    void forget(u32 slot);
    void idle_cpus_of(const Domain&);
    i64 call(u32 number, std::array<u64, 6> args); // the result as the guest sees it; `waiting`: it has to go on
    i64 go_on();
    static constexpr i64 waiting = i64{1} << 40;

    // --- choices.cpp
    Mfn own_frame(Choices&);
    Mfn own_table(Choices&, u8 level); // likely one of that level
    Mfn any_frame(Choices&);
    u64 any_entry(Choices&, u8 level);
    u32 any_index(Choices&);
    Vaddr any_address(Choices&);
    u32 other_slot(Choices&);
    u16 any_domid(Choices&);
    u64 physmap(Mfn); // the address that the domain's first tables give to its own frame, 0: none

    // --- steps_tables.cpp
    void update_list(Choices&);
    void ext_list(Choices&);
    void va_mapping(Choices&);
    void multicall(Choices&);
    void extension_op(Choices&);
    void descriptors(Choices&);
    void withdraw(Choices&, Mfn, bool whole);
    void pin_fresh(Choices&);
    u32 fill_updates(Choices&, u64 at);
    u32 fill_ext(Choices&, u64 at);

    // --- steps_memory.cpp
    void reservation(Choices&);
    void exchange(Choices&);
    void grow_grants(Choices&);

    // --- steps_grants.cpp
    void grant(Choices&);
    void write_grant_entry(Choices&);
    void map_grant(Choices&);
    u32 fill_grants(Choices&);
    void forget_grant_list();
    u64 grant_list() const;
    void unmap_grant(Choices&);
    void copy_grant(Choices&);
    void note_grants(u32 command);
    void note_mapped(u64 at);
    void note_unmapped(std::map<std::pair<u32, u32>, Held>::iterator, bool host, bool device);

    // --- steps_superpages.cpp
    void superpages(Choices&);
    Mfn block_frame(Choices&);
    u64 any_superpage(Choices&);
    void write_superpage(Choices&, Mfn table, u32 index, u64 value);
    void withdraw_superpages(Choices&, bool whole);
    void use_block_frame(Choices&);
    void pin_superpages(Choices&);

    // --- steps_others.cpp
    void others(Choices&);
    void register_info(Choices&);
    void claim(Choices&);
    void event_channel(Choices&);

    // --- steps_guest.cpp
    void guest_store(Choices&);
    void stray_write(Choices&);
    void touch(Choices&);
    void switch_context(Choices&);
    void access_bits(Choices&);
    bool store(Choices&, u64 address, u64 value);

    fake::Machine& m_ = fake::machine();
    const bool talks_; // GUARD_TALKS in the environment: every hypercall is told
    Model model_;
    std::array<Slot, slots> slots_;
    std::map<std::pair<u32, u32>, Held> held_; // {slot, handle}
    u32 slot_ = 0, vcpu_ = 0;
    u64 steps_ = 0;
    u64 free_before_ = 0;
};

} // namespace domus::guard
