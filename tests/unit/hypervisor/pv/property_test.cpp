// Random page-table hypercalls of a guest that knows all its frames and means no good, against a model that recomputes
// from raw tables who can write what. After every call: no table in force is mapped writable, by a table or by a stale
// translation, and all counts are what the tables say; in the end the domain dies and every frame comes back.
#include "guest.hpp"

#include "hypervisor/core/frame_word.hpp"

#include <random>

namespace domus::test {
namespace {

class Chaos : public MemoryTest, public testing::WithParamInterface<u32> {
protected:
    u64 pick(u64 limit) { return std::uniform_int_distribution<u64>(0, limit - 1)(random_); }
    Mfn any_frame() { return frames_[pick(frames_.size())]; }
    u64 flags() {
        constexpr u64 choices[] = {rw,
                                   rw,
                                   ro,
                                   ro,
                                   0,
                                   rw | entry::no_execute,
                                   ro | entry::global,
                                   rw | entry::large,
                                   ro | entry::cache_disable,
                                   entry::present | entry::writable};
        return choices[pick(std::size(choices))];
    }
    u64 any_entry() {
        switch (pick(12)) {
        case 0:
            return entry::make(Mfn(pick(fake::ram_frames + 64)), flags()); // anybody's
        case 1:
            return random_();
        default:
            return entry::make(any_frame(), flags());
        }
    }
    u32 any_index() {
        constexpr u32 common[] = {0, 1, 2, 255, 256, 271, 272, 511};
        return pick(4) == 0 ? static_cast<u32>(pick(512)) : common[pick(std::size(common))];
    }
    // The guest's stores to its own memory: only to frames that it could have mapped writable.
    void scribble() {
        const Mfn mfn = any_frame();
        const TypeWord word{frame_info(mfn).type.load()};
        const bool may = !word.has(TypeWord::Partial) && (word.count() == 0 || word.type() == FrameType::Writable);
        if (may)
            Guest::at(mfn, any_index()) = any_entry();
    }
    void list_of_updates() {
        std::vector<mmu_update_t> list;
        for (u64 i = 0, n = 1 + pick(8); i < n; ++i)
            list.push_back({base_of(any_frame()).n + any_index() * 8 + pick(4), any_entry()});
        static_cast<void>(update(list));
    }
    void ext_op() {
        constexpr u32 commands[] = {MMUEXT_PIN_L1_TABLE,  MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE,
                                    MMUEXT_PIN_L4_TABLE,  MMUEXT_UNPIN_TABLE,  MMUEXT_UNPIN_TABLE,
                                    MMUEXT_NEW_BASEPTR,   MMUEXT_CLEAR_PAGE,   MMUEXT_NEW_USER_BASEPTR,
                                    MMUEXT_TLB_FLUSH_ALL, MMUEXT_COPY_PAGE};
        mmuext_op_t op{};
        op.cmd = commands[pick(std::size(commands))];
        op.arg1.mfn = any_frame().n;
        op.arg2.src_mfn = any_frame().n;
        static_cast<void>(ext({op}));
    }
    // Stop a call half-way and never come back to it.
    void abandon() {
        m.yield_every = 1;
        mmuext_op_t op{};
        op.cmd = pick(2) ? MMUEXT_PIN_L4_TABLE : MMUEXT_UNPIN_TABLE;
        op.arg1.mfn = any_frame().n;
        m.put(op);
        Call call{guest_.vcpu(), *guest_.domain, {}};
        static_cast<void>(mmuext_op(call, {fake::window_base}, 1, {}, DOMID_SELF));
        m.yield_every = 0;
    }
    void release_and_refill() {
        xen_memory_reservation_t r{};
        xen_pfn_t mfn = any_frame().n;
        m.put(mfn);
        r.nr_extents = 1;
        r.domid = DOMID_SELF;
        r.extent_start.p = reinterpret_cast<xen_pfn_t*>(fake::window_base);
        if (memory(XENMEM_decrease_reservation, r).value() != 1)
            return;
        std::erase(frames_, Mfn(mfn));
        m.put(xen_pfn_t{1});
        if (memory(XENMEM_populate_physmap, r).value() == 1)
            frames_.push_back(Mfn(m.get<xen_pfn_t>()));
    }
    void step() {
        m.yield_every = static_cast<u32>(pick(4) == 0 ? 1 + pick(3) : 0);
        switch (pick(16)) {
        case 0:
        case 1:
        case 2:
        case 3:
            scribble();
            break;
        case 4:
        case 5:
        case 6:
            ext_op();
            break;
        case 7:
            abandon();
            break;
        case 8:
            release_and_refill();
            break;
        default:
            list_of_updates();
        }
        m.yield_every = 0;
    }
    std::vector<Mfn> roots() {
        std::vector<Mfn> held;
        const auto& pv = guest_.vcpu().pv;
        for (u64 root : {pv.kernel_root, pv.user_root}) {
            if (root != 0)
                held.push_back(frame_of(Maddr(root)));
        }
        if (pv.unfinished_table != invalid_mfn)
            held.push_back(pv.unfinished_table);
        return held;
    }

    std::mt19937_64 random_;
    Guest guest_;
    std::vector<Mfn> frames_;
};

TEST_P(Chaos, NothingUnsafeHappens) {
    random_.seed(GetParam());
    guest_ = make_guest(64);
    as(guest_);
    // Trees to start from, so that random steps reach deep states.
    for (int i = 0; i < 3; ++i) {
        const auto t = build(guest_);
        frames_.insert(frames_.end(), {t.l4, t.l3, t.l2, t.l1, t.l4, t.l3, t.l2, t.l1});
        static_cast<void>(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    }
    for (int i = 0; i < 12; ++i)
        frames_.push_back(guest_.frame());
    for (Mfn mfn : frames_) {
        if (frame_info(mfn).type.load() == 0)
            arch::zero_frame(mfn);
    }
    for (int i = 0; i < 1500 && !HasFailure(); ++i) {
        step();
        expect_sound(roots());
    }
    m.yield_every = 2;
    destroy(guest_);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Chaos, testing::Range(1u, 13u));

} // namespace
} // namespace domus::test
