// See guest.hpp.
#include "guest.hpp"

#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/teardown.hpp"

namespace domus::test {
namespace {

// dom0 is made once: it makes the calls that destroy the others.
Guest& controller() {
    static Guest& one = *[] {
        DomainParameters parameters;
        parameters.id = 0;
        parameters.privileged = true;
        auto* guest = new Guest{create_domain(parameters).value()};
        EXPECT_TRUE(create_vcpu(*guest->domain, VcpuId(0)));
        return guest;
    }();
    return one;
}

} // namespace

Mfn Guest::frame() const {
    return allocate_domain_frames(*domain, 0).value();
}

MemoryTest::MemoryTest() {
    m.turn(0);
    m.yield_every = 0;
    m.current(controller().vcpu());
    Guest first = make_guest(); // the first of a kind may make the heap grow
    destroy(first);
    m.forget_history();
    free_before = free_frame_count();
}

MemoryTest::~MemoryTest() {
    m.yield_every = 0;
    for (auto& past : m.history())
        EXPECT_TRUE(past.safe()) << "entry " << past.index << " of frame " << past.table.n << ": " << std::hex
                                 << past.before << " -> " << past.after << " " << past.why;
    reap_domains();
    EXPECT_EQ(free_frame_count(), free_before) << "memory was lost";
}

Guest MemoryTest::make_guest(u64 frames, bool privileged) {
    DomainParameters parameters;
    parameters.privileged = privileged;
    Guest guest{create_domain(parameters).value()};
    EXPECT_TRUE(create_vcpu(*guest.domain, VcpuId(0)));
    guest.domain->frames.with([&](OwnedFrames& list) { list.maximum = frames; });
    guest.domain->life = Life::Alive;
    return guest;
}

void MemoryTest::destroy(Guest& guest) {
    m.current(controller().vcpu());
    const auto result = run([&](Call& call) -> Result<i64> {
        TRY(destroy_domain(call, *guest.domain));
        return i64{0};
    });
    EXPECT_TRUE(result) << static_cast<int>(result.error());
    guest.domain = DomainRef();
    reap_domains();
}

Result<i64> MemoryTest::update(std::vector<mmu_update_t> list, u32 foreign) {
    std::memcpy(m.window(fake::window_base, list.size() * 16), list.data(), list.size() * 16);
    const u64 count_at = m.put(u32{0}, fake::window_base + 0xff000);
    u64 at = fake::window_base;
    u32 count = static_cast<u32>(list.size());
    auto result = run([&](Call& call) {
        call.args = {at, count, count_at, foreign, 0, 0};
        auto r = mmu_update(call, GuestPtr<mmu_update_t>{at}, count, GuestPtr<u32>{count_at}, foreign);
        at = call.args[0];
        count = static_cast<u32>(call.args[1]);
        return r;
    });
    done = m.get<u32>(count_at);
    return result;
}

Result<i64> MemoryTest::ext(std::vector<mmuext_op_t> list, u32 foreign) {
    std::memcpy(m.window(fake::window_base, list.size() * sizeof list[0]), list.data(), list.size() * sizeof list[0]);
    const u64 count_at = m.put(u32{0}, fake::window_base + 0xff000);
    u64 at = fake::window_base;
    u32 count = static_cast<u32>(list.size());
    auto result = run([&](Call& call) {
        call.args = {at, count, count_at, foreign, 0, 0};
        auto r = mmuext_op(call, GuestPtr<mmuext_op_t>{at}, count, GuestPtr<u32>{count_at}, foreign);
        at = call.args[0];
        count = static_cast<u32>(call.args[1]);
        return r;
    });
    done = m.get<u32>(count_at);
    return result;
}

MemoryTest::Tables MemoryTest::build(const Guest& g) {
    const Tables t{g.frame(), g.frame(), g.frame(), g.frame()};
    for (Mfn table : {t.l4, t.l3, t.l2, t.l1})
        arch::zero_frame(table);
    Guest::at(t.l4, 0) = entry::make(t.l3, rw);
    Guest::at(t.l3, 0) = entry::make(t.l2, rw);
    Guest::at(t.l2, 0) = entry::make(t.l1, rw);
    return t;
}

void MemoryTest::expect_sound(std::vector<Mfn> roots) {
    for (const std::string& line : m.audit(roots))
        ADD_FAILURE() << line;
}

} // namespace domus::test
