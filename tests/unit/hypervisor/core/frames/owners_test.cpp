// Whose a frame is, and how references keep it: counts, limits, release, stealing, shared pages.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/teardown.hpp"
#include "tests/fake/machine.hpp"

#include <gtest/gtest.h>

namespace domus::test {
namespace {

using namespace domus::hv;

class Owners : public testing::Test {
protected:
    Owners() {
        fake::machine();
        make();
        end(); // the first of a kind may make the heap grow
        before_ = free_frame_count();
        make();
    }
    ~Owners() override {
        EXPECT_TRUE(fake::machine().audit().empty());
        end();
        EXPECT_EQ(free_frame_count(), before_);
    }
    void make() {
        for (DomainRef* domain : {&a, &b}) {
            *domain = create_domain({}).value();
            (*domain)->frames.with([](OwnedFrames& list) { list.maximum = 16; });
        }
    }
    void end() {
        for (DomainRef* domain : {&a, &b}) {
            Call call{arch::current_vcpu(), arch::current_vcpu().domain, {}};
            EXPECT_TRUE(destroy_domain(call, **domain));
            *domain = DomainRef();
        }
        reap_domains();
    }
    u64 total() {
        return a->frames.with([](OwnedFrames& list) { return list.total; });
    }
    DomainRef a, b;
    u64 before_ = 0;
};

TEST_F(Owners, AreCountedAgainstTheLimit) {
    EXPECT_TRUE(allocate_domain_frames(*a, 3));
    EXPECT_EQ(allocate_domain_frames(*a, 4).error(), Err::NoMem);
    EXPECT_TRUE(allocate_domain_frames(*a, 3));
    EXPECT_EQ(allocate_domain_frames(*a, 0).error(), Err::NoMem);
    EXPECT_EQ(total(), 16u);
}

TEST_F(Owners, ReferencesKeepAReleasedFrame) {
    const Mfn mfn = allocate_domain_frames(*a, 0).value();
    ASSERT_TRUE(get_frame(mfn, *a));
    EXPECT_EQ(get_frame(mfn, *b).error(), Err::Perm);
    EXPECT_EQ(release_domain_frame(*b, mfn).error(), Err::Perm);
    const u64 free_before = free_frame_count();
    EXPECT_TRUE(release_domain_frame(*a, mfn));
    EXPECT_EQ(release_domain_frame(*a, mfn).error(), Err::Inval) << "only once";
    EXPECT_EQ(free_frame_count(), free_before);
    EXPECT_EQ(total(), 1u);
    put_frame(mfn);
    EXPECT_EQ(free_frame_count(), free_before + 1);
    EXPECT_EQ(total(), 0u);
    EXPECT_EQ(get_frame(mfn, *a).error(), Err::Perm);
}

TEST_F(Owners, FramesOutsideRamAreNobodys) {
    for (u64 n : {u64{0}, u64{255}, fake::ram_frames, fake::ram_frames + 1, ~u64{0}, ~u64{0} >> 12})
        EXPECT_FALSE(get_frame(Mfn(n), *a)) << n;
    EXPECT_TRUE(is_device_frame(Mfn(10)));
    EXPECT_FALSE(is_device_frame(Mfn(~u64{0} >> 12)));
    EXPECT_FALSE(is_device_frame(Mfn(5000))) << "RAM";
    forbid_device_frames(Mfn(0xfee00), Mfn(0xfee01));
    EXPECT_FALSE(is_device_frame(Mfn(0xfee00)));
    EXPECT_TRUE(is_device_frame(Mfn(0xfee01)));
}

TEST_F(Owners, OnlyUnusedFramesCanBeTakenAway) {
    const Mfn mfn = allocate_domain_frames(*a, 0).value();
    EXPECT_EQ(steal_frame(*b, mfn).error(), Err::Perm);
    ASSERT_TRUE(get_frame(mfn, *a));
    EXPECT_EQ(steal_frame(*a, mfn).error(), Err::Busy);
    put_frame(mfn);
    ASSERT_TRUE(steal_frame(*a, mfn));
    EXPECT_EQ(total(), 0u);
    EXPECT_EQ(steal_frame(*a, mfn).error(), Err::Perm);
    ASSERT_TRUE(adopt_frame(*b, mfn));
    EXPECT_EQ(adopt_frame(*a, mfn).error(), Err::Inval) << "it has an owner";
    const Mfn free = allocate_frames().value();
    free_frames(free);
    EXPECT_EQ(adopt_frame(*a, free).error(), Err::Inval) << "a free frame";
}

TEST_F(Owners, SharedPagesNeverBecomeTables) {
    const Mfn writable = allocate_shared_frame(*a).value();
    const Mfn readable = allocate_shared_frame(*a, false).value();
    EXPECT_EQ(total(), 0u) << "not counted";
    EXPECT_TRUE(get_frame_and_type(writable, *a, FrameType::Writable));
    put_frame_and_type(writable);
    EXPECT_EQ(get_frame_and_type(writable, *a, FrameType::L1).error(), Err::Busy);
    EXPECT_EQ(get_frame_and_type(readable, *a, FrameType::Writable).error(), Err::Busy);
    EXPECT_EQ(release_domain_frame(*a, writable).error(), Err::Inval) << "not the guest's to give back";
    EXPECT_EQ(steal_frame(*a, readable).error(), Err::Busy);
    free_shared_frame(*b, writable); // not b's: nothing happens
    EXPECT_TRUE(get_frame(writable, *a));
    put_frame(writable);
    free_shared_frame(*a, writable);
    free_shared_frame(*a, writable);
    free_shared_frame(*a, readable);
}

TEST_F(Owners, ADyingDomainGetsNothingMore) {
    const Mfn spare = allocate_frames().value();
    a->life = Life::Dying;
    EXPECT_FALSE(allocate_domain_frames(*a, 0));
    EXPECT_FALSE(allocate_shared_frame(*a));
    EXPECT_FALSE(adopt_frame(*a, spare));
    free_frames(spare);
}

} // namespace
} // namespace domus::test
