// Clock pages, wall clock, and the copies at guest addresses.
#include "machine.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace domus::test {
namespace {

constexpr u64 area = 0x20000;

struct Time : testing::Test {
    Time() : domain(m.make_domain(1)), vcpu(*domain.vcpus[0]) { m.mapped = {area >> 12}; }
    template <class T>
    T at(u64 address) {
        u8 bytes[sizeof(T)];
        for (usize i = 0; i < sizeof(T); ++i)
            bytes[i] = m.guest[address + i];
        T value;
        std::memcpy(&value, bytes, sizeof value);
        return value;
    }
    Machine m;
    Domain& domain;
    Vcpu& vcpu;
};

TEST_F(Time, TheClockPageIsWrittenBeforeAVcpuFirstRuns) {
    Machine::run(domain);
    m.exit_paths();
    const auto& page = vcpu.info->time;
    EXPECT_EQ(page.version % 2, 0u);
    EXPECT_GT(page.version, 0u);
    EXPECT_EQ(page.tsc_to_system_mul, m.scale.tsc_to_system_mul);
    EXPECT_EQ(page.tsc_shift, m.scale.tsc_shift);
    EXPECT_EQ(page.tsc_timestamp, m.scale.tsc_timestamp);
    EXPECT_TRUE(page.flags & XEN_PVCLOCK_TSC_STABLE_BIT);
}

TEST_F(Time, TheClockPageChangesOnlyWithTheCalibration) {
    update_time_page(vcpu);
    const u32 version = vcpu.info->time.version;
    update_time_page(vcpu);
    EXPECT_EQ(vcpu.info->time.version, version);
    m.scale.tsc_timestamp = 5000;
    update_time_page(vcpu);
    EXPECT_EQ(vcpu.info->time.version, version + 2);
    EXPECT_EQ(vcpu.info->time.tsc_timestamp, 5000u);
}

TEST_F(Time, AnOddVersionLeftByTheGuestIsEvenAfterwards) {
    for (u32 scribbled : {1u, 2u, 0xfffffffeu, 0xffffffffu}) {
        vcpu.info->time.version = scribbled;
        vcpu.time_stamp = ~u64{0};
        update_time_page(vcpu);
        EXPECT_EQ(vcpu.info->time.version % 2, 0u);
    }
}

TEST_F(Time, WallClock) {
    wall_clock_start();
    update_wall_clock(domain);
    EXPECT_EQ(domain.shared->wc_sec, 1'700'000'000u);
    EXPECT_EQ(domain.shared->wc_version, 2u);
    set_wall_clock(u64{0x2'0000'0000} * second + 5, 3 * second + 2);
    domain.time_offset_seconds = -7200;
    update_wall_clock(domain);
    const u64 seconds = u64{domain.shared->wc_sec_hi} << 32 | domain.shared->wc_sec;
    EXPECT_EQ(seconds, u64{0x2'0000'0000} - 3 - 7200);
    EXPECT_EQ(domain.shared->wc_nsec, 3u);
    EXPECT_EQ(domain.shared->wc_version, 4u);
}

TEST_F(Time, RunstateCopyIsWrittenAtEachSwitchIn) {
    vcpu.runstate_guest = area;
    Machine::run(domain);
    m.exit_paths();
    m.advance(5 * ms);
    pause_domain(domain);
    m.advance(3 * ms);
    unpause_domain(domain);
    m.exit_paths();
    const auto copy = at<vcpu_runstate_info_t>(area);
    EXPECT_EQ(copy.state, RUNSTATE_running);
    EXPECT_EQ(copy.state_entry_time, m.now);
    EXPECT_EQ(copy.time[RUNSTATE_running], 5 * ms);
    EXPECT_EQ(copy.time[RUNSTATE_offline], 3 * ms);
}

TEST_F(Time, RunstateCopyIsMarkedDuringTheUpdateWhenAskedFor) {
    domain.vm_assist = 1u << VMASST_TYPE_runstate_update_flag;
    vcpu.runstate_guest = area;
    Machine::run(domain);
    m.exit_paths();
    ASSERT_EQ(m.guest_writes.size(), 3u);
    u64 first = 0;
    std::memcpy(&first, m.guest_writes[0].second.data(), 8);
    EXPECT_TRUE(first & XEN_RUNSTATE_UPDATE);
    vcpu_runstate_info_t whole;
    std::memcpy(&whole, m.guest_writes[1].second.data(), sizeof whole);
    EXPECT_TRUE(whole.state_entry_time & XEN_RUNSTATE_UPDATE) << "the mark stays on until all fields are written";
    EXPECT_FALSE(at<vcpu_runstate_info_t>(area).state_entry_time & XEN_RUNSTATE_UPDATE);
}

TEST_F(Time, SecondCopyOfTheClockPageFollows) {
    vcpu.time_info_guest = area;
    Machine::run(domain);
    m.exit_paths();
    auto copy = at<vcpu_time_info_t>(area);
    EXPECT_EQ(copy.version % 2, 0u);
    EXPECT_EQ(copy.tsc_to_system_mul, m.scale.tsc_to_system_mul);
    u32 odd = 0;
    std::memcpy(&odd, m.guest_writes[0].second.data(), 4);
    EXPECT_EQ(odd % 2, 1u) << "announced before the fields change";
    const usize writes = m.guest_writes.size();
    switched_in(vcpu);
    EXPECT_EQ(m.guest_writes.size(), writes) << "nothing new, nothing written";
}

TEST_F(Time, CopiesAtAddressesThatAreNotThereAreLeftOut) {
    vcpu.runstate_guest = 0x999000;
    vcpu.time_info_guest = 0xfffffffffffffff0;
    Machine::run(domain);
    m.exit_paths();
    EXPECT_EQ(m.cpus[0].current, &vcpu);
    vcpu.runstate_guest = area + 4096 - 8; // runs into a page that is not there
    switched_in(vcpu);
    EXPECT_EQ(m.cpus[0].current, &vcpu);
}

} // namespace
} // namespace domus::test
