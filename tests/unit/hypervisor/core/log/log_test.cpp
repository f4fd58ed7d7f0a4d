// The log: levels, prefixes, and the limit on what guests can make it print; counters; trace records.
#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/trace.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"

#include <cstring>

namespace domus::test {
namespace {

struct Log : MachineTest {
    Log() { (void)m.call(d); } // d3v0 runs
    Domain& d = m.make_domain(3);
    static std::string ring_text() {
        char text[1024];
        u32 index = console_ring_start();
        const u32 got = console_ring_read(index, text);
        console_ring_clear();
        return {text, got};
    }
    size_t lines() const { return static_cast<size_t>(std::count(m.printed.begin(), m.printed.end(), '\n')); }
};

TEST_F(Log, LevelsAndPrefixes) {
    m.printed.clear();
    console_ring_clear();
    set_log_levels(Level::Warning, Level::Error);
    log(Level::Warning, "memory {}", 5);
    log(Level::Info, "not this");
    why(d, "nor this");
    EXPECT_EQ(m.printed, "(domus) memory 5\n");
    EXPECT_EQ(ring_text(), "(domus) memory 5\n(domus) not this\n(domus) d3: nor this [d3v0 at 0x0]\n")
        << "for `domus dmesg`";
    log(Level::Debug, "nobody asked for this");
    EXPECT_EQ(ring_text(), "");
    set_log_levels(Level::Warning, Level::Info);
    m.printed.clear();
    log_guest_line(Level::Error, d, "hello");
    EXPECT_EQ(m.printed, "(domus) d3: hello\n");
}

TEST_F(Log, RefusalsNameTheCaller) {
    GuestRegs& regs = d.vcpus[0]->regs;
    u8 code[4] = {0x90, 0x90, 0x90, 0x90};
    u64 stack[3] = {1, 2, 0xffffffff81001234};
    regs.rip = reinterpret_cast<u64>(code);
    regs.rsp = reinterpret_cast<u64>(stack);
    m.printed.clear();
    why(m.make_domain(4), "port {} is closed", PortNo(9));
    char expected[100];
    EXPECT_EQ(m.printed, format_to(expected, "(domus) d4: port 9 is closed [d3v0 at {x}]\n", regs.rip));
    const u8 end_of_stub[4] = {0x41, 0x5b, 0x59, 0xc3}; // the hypercall page: its caller is on the stack
    std::memcpy(code, end_of_stub, sizeof code);
    m.printed.clear();
    why(d, "no");
    EXPECT_EQ(m.printed, "(domus) d3: no [d3v0 at 0xffffffff81001234]\n");
    m.printed.clear();
    regs.rsp = 0xffff830000000000; // nothing is read from there
    why(d, "no");
    EXPECT_EQ(m.printed, format_to(expected, "(domus) d3: no [d3v0 at {x}]\n", regs.rip));
    for (u64 rip : {u64{0}, ~u64{0}, u64{1} << 47}) {
        regs.rip = rip;
        m.printed.clear();
        why(d, "no");
        EXPECT_EQ(m.printed, format_to(expected, "(domus) d3: no [d3v0 at {x}]\n", rip));
    }
    d.vcpus[0]->is_idle = true; // what is done for nobody has no caller
    m.printed.clear();
    why(d, "no");
    EXPECT_EQ(m.printed, "(domus) d3: no\n");
    d.vcpus[0]->is_idle = false;
}

TEST_F(Log, NamesOfLevels) {
    EXPECT_EQ(level_named("error", Level::Info), Level::Error);
    EXPECT_EQ(level_named("all", Level::Info), Level::Debug);
    EXPECT_EQ(level_named("none/all", Level::Info), Level::Debug);
    EXPECT_EQ(level_named("error/warning", Level::Info), Level::Warning);
    EXPECT_EQ(level_named("nonsense", Level::Info), Level::Info);
    EXPECT_EQ(level_named("", Level::Warning), Level::Warning);
}

// ISOLATION, unbounded work: a guest cannot fill the log.
TEST_F(Log, AGuestIsLimitedPerSecond) {
    m.printed.clear();
    for (int i = 0; i < 1000; ++i)
        why(d, "refused");
    EXPECT_EQ(lines(), 100u);
    EXPECT_NE(m.printed.find("not shown"), std::string::npos);
    EXPECT_EQ(d.perf.counts[static_cast<size_t>(Count::Refused)], 1000u) << "but all are counted";
    Domain& other = m.make_domain(4);
    m.printed.clear();
    why(other, "refused");
    EXPECT_EQ(lines(), 1u) << "others have a budget of their own";
    m.now += 1'000'000'000;
    why(d, "refused");
    EXPECT_EQ(lines(), 2u);
}

TEST_F(Log, PerfRowsHaveNamesAndAreComplete) {
    d.perf.hypercalls[__HYPERVISOR_event_channel_op] = 4;
    d.perf.traps[14] = 5;
    count(d, Count::RootLoads, 6);
    std::map<std::string, u64> rows;
    for (u32 i = 0; i < perf_rows + 5; ++i) {
        const PerfRow row = perf_row(d.perf, i);
        if (!row.name.empty())
            rows[std::string(row.kind) + ":" + std::string(row.name)] = row.value;
    }
    EXPECT_EQ(rows["hypercall:event_channel_op"], 4u);
    EXPECT_EQ(rows["trap:page fault"], 5u);
    EXPECT_EQ(rows["count:root loads"], 6u);
    reset_counters(d.perf);
    EXPECT_EQ(perf_row(d.perf, static_cast<u32>(Count::RootLoads)).value, 0u);
}

TEST_F(Log, TraceRemembersTheLastRecords) {
    (void)m.call(d);
    for (u64 i = 0; i < 100; ++i)
        trace(TraceEvent::Note, i);
    EXPECT_EQ(trace_back(0).args[0], 99u);
    EXPECT_EQ(trace_back(0).domain, 3);
    EXPECT_EQ(trace_back(63).args[0], 36u);
    EXPECT_EQ(trace_back(64).event, TraceEvent::None);
    m.printed.clear();
    print_trace_in_panic(2);
    EXPECT_NE(m.printed.find("d3v0 note 0x62"), std::string::npos);
    EXPECT_LT(m.printed.find("note 0x62"), m.printed.find("note 0x63"));
}

} // namespace
} // namespace domus::test
