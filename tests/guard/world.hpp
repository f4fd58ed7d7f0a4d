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

// What a granter's shared entry says, in either version of the table.
struct GrantEntry {
    u16 flags = 0, domid = 0;
    u64 frame = 0;
    u32 start = 0, length = page_size; // the part that is granted
    bool allows(u16 user, bool writing) const {
        return (flags & GTF_type_mask) == GTF_permit_access && domid == user && !(writing && (flags & GTF_readonly));
    }
    bool is_part() const { return start != 0 || length != page_size; }
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
    // The unmaps that a vcpu asked for last, in one list of one kind.
    struct Unmap {
        u64 host, device;
        u32 handle;
        bool noted = false;
    };
    struct UnmapList {
        bool replaces = false;
        bool before_maps = false; // in a multicall that has maps too
        std::vector<Unmap> asked;
    };
    struct Slot {
        DomainRef domain;
        bool dying = false;
        Mfn grant_frame{};
        Mfn block{}; // 1024 frames, aligned: room for two superpages; 0: it has none
        std::array<Pending, vcpus_each> pending;
        std::vector<u32> handles; // grant mappings it holds, or held
        u32 version = 1;          // of its grant table, as it was answered
        std::array<UnmapList, vcpus_each> unmaps;
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
    void multicall_with_unmaps(Choices&);
    void multicall_of(Choices&, bool unmaps);
    void extension_op(Choices&);
    void map_run(Choices&);
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
    static constexpr u32 first_ref = 8, refs = 16; // of a table that are used here: those below are reserved
    static constexpr i16 unanswered = 0x7777, noted = 0x7778;
    void grant(Choices&);
    void write_grant_entry(Choices&);
    void map_grant(Choices&);
    u32 fill_grants(Choices&);
    void forget_grant_list();
    u64 grant_list() const;
    void copy_grant(Choices&);
    void note_maps();
    void note_mapped(u64 at);
    u64 frame_in_use(u32 granter, u32 ref) const; // by a mapping of a domain that lives; 0: by none
    u32 slot_of(u16 domid) const;                 // slots: nobody's
    bool may_copy(const gnttab_copy::gnttab_copy_ptr&, u32 length, bool writing);

    // --- steps_unmaps.cpp
    void unmap_grant(Choices&);
    u32 fill_unmaps(Choices&, u32 count); // answers which operation they are for
    bool unmaps_in_multicall(Choices&, multicall_entry_t&);
    u64 unmap_list() const;
    void note_grants(const Pending&);
    void note_unmaps();
    void note_unmapped(const Unmap&);

    // --- steps_versions.cpp
    void grant_tables(Choices&);
    void set_version(Choices&);
    void list_status_frames(Choices&);
    void acquire_frames(Choices&);
    void swap_grants(Choices&);
    void store_grant_v2(Choices&, u32 ref, u16 flags, u16 domid, u64 frame);
    GrantEntry grant_entry(u32 slot, u32 ref) const;
    void note_shared_frames(u32 slot, u64 list, u32 count);

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
