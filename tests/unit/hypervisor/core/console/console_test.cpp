// console_io, the ring behind `domus dmesg`, typed input and debug keys.
#include "hypervisor/core/console_io.hpp"
#include "hypervisor/core/console_ring.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {
namespace {

struct Console : MachineTest {
    Domain& zero = m.make_domain(0, 1, true);
    Domain& guest = m.make_domain(3);

    i64 write(Domain& d, std::string text) {
        Call c = m.call(d);
        c.args = {CONSOLEIO_write, text.size(), reinterpret_cast<u64>(text.data()), 0, 0, 0};
        for (;;) {
            const auto result = console_io(c, static_cast<i32>(c.args[0]), static_cast<i32>(c.args[1]), {c.args[2]});
            if (result)
                return result.value();
            if (result.error() != Err::Restart)
                return minus(result.error());
            ++m.yields;
        }
    }
    std::string read(Domain& d, i32 most = 100) {
        char buffer[512];
        Call c = m.call(d);
        const auto got = console_io(c, CONSOLEIO_read, most, {reinterpret_cast<u64>(buffer)});
        return got ? std::string(buffer, static_cast<size_t>(got.value())) : "refused";
    }
    void type(std::string_view text) {
        for (char c : text)
            console_input(c);
    }
    std::string ring() {
        u32 index = console_ring_start();
        std::string all(console_ring_bytes, 0);
        all.resize(console_ring_read(index, {all.data(), all.size()}));
        return all;
    }
};

TEST_F(Console, Dom0WritesRaw) {
    m.printed.clear();
    EXPECT_EQ(write(zero, "half a line\x1b[0m"), 0);
    EXPECT_EQ(m.printed, "half a line\x1b[0m");
}

TEST_F(Console, GuestsWriteLinesWithTheirName) {
    m.printed.clear();
    EXPECT_EQ(write(guest, "hel"), 0);
    EXPECT_EQ(m.printed, "");
    EXPECT_EQ(write(guest, "lo\nmore"), 0);
    EXPECT_EQ(m.printed, "(domus) d3: hello\n");
    EXPECT_EQ(write(guest, "\n"), 0);
    EXPECT_EQ(m.printed, "(domus) d3: hello\n(domus) d3: more\n");
}

TEST_F(Console, LongWritesCanStopAndGoOn) {
    m.printed.clear();
    m.work_waits = true;
    EXPECT_EQ(write(zero, std::string(1000, 'x')), 0);
    EXPECT_EQ(m.printed, std::string(1000, 'x'));
    EXPECT_EQ(m.yields, 7u);
}

TEST_F(Console, HostileGuests) {
    m.printed.clear();
    EXPECT_EQ(write(guest, "\x1b]2;title\x07"
                           "a\x80\n"),
              0);
    EXPECT_EQ(m.printed, "(domus) d3: ]2;titlea\n") << "no escape sequence reaches the terminal";
    m.printed.clear();
    EXPECT_EQ(write(guest, std::string(500, 'y')), 0); // no newline: cut into lines
    EXPECT_EQ(std::count(m.printed.begin(), m.printed.end(), '\n'), 4);
    for (int i = 0; i < 1000; ++i)
        write(guest, "spam\n");
    EXPECT_LE(std::count(m.printed.begin(), m.printed.end(), '\n'), 100);
    EXPECT_EQ(read(guest), "refused");
    Call c = m.call(guest);
    EXPECT_EQ(console_io(c, CONSOLEIO_write, -1, {4096}).error(), Err::Inval);
    EXPECT_EQ(console_io(c, CONSOLEIO_write, 5, {0}).error(), Err::Fault);
    EXPECT_EQ(console_io(c, 2, 0, {0}).error(), Err::NoSys);
}

TEST_F(Console, InputGoesToDom0WithAVirq) {
    evtchn_bind_virq_t bind{.virq = VIRQ_CONSOLE, .vcpu = 0};
    ASSERT_EQ(m.events(zero, EVTCHNOP_bind_virq, &bind), 0);
    type("ls\r");
    EXPECT_TRUE(zero.events.is_pending(PortNo(bind.port)).value());
    EXPECT_EQ(read(zero, 2), "ls");
    EXPECT_EQ(read(zero), "\r");
    EXPECT_EQ(read(zero), "");
    type(std::string(1000, 'z')); // dom0 does not read: what does not fit is dropped
    EXPECT_EQ(read(zero, 400).size() + read(zero, 400).size() + read(zero, 400).size(), 256u);
}

TEST_F(Console, CtrlAThreeTimesSwitches) {
    m.printed.clear();
    type("\x01\x01\x01");
    EXPECT_NE(m.printed.find("goes to the hypervisor"), std::string::npos);
    EXPECT_EQ(read(zero), "\x01\x01") << "the first two were dom0's";
    m.printed.clear();
    type("h");
    EXPECT_NE(m.printed.find("key R: reboot"), std::string::npos);
    m.printed.clear();
    type("q");
    EXPECT_NE(m.printed.find("d3: "), std::string::npos);
    type("%");
    EXPECT_NE(m.printed.find("no debug key '%'"), std::string::npos);
    EXPECT_THROW(type("R"), std::runtime_error);
    type("\x01\x01\x01");
    EXPECT_NE(m.printed.find("goes to dom0"), std::string::npos);
    type("a");
    EXPECT_EQ(read(zero), "a");
}

TEST_F(Console, RingKeepsTheNewest) {
    console_ring_clear();
    EXPECT_EQ(ring(), "");
    console_print_line("p ", "one");
    EXPECT_EQ(ring(), "p one\n");
    u32 index = console_ring_start();
    char part[3];
    EXPECT_EQ(console_ring_read(index, part), 3u);
    EXPECT_EQ(std::string(part, 3), "p o");
    EXPECT_EQ(console_ring_read(index, part), 3u);
    EXPECT_EQ(console_ring_read(index, part), 0u);
    for (int i = 0; i < 10000; ++i)
        console_print_line("", "0123456789");
    EXPECT_EQ(ring().size(), console_ring_bytes);
    index = 0; // long overwritten
    EXPECT_EQ(console_ring_read(index, part), 3u);
    index = console_ring_start() + console_ring_bytes + 100; // from the future
    EXPECT_EQ(console_ring_read(index, part), 3u);
    console_ring_clear();
}

TEST_F(Console, NewTextIsAnnouncedOnce) {
    evtchn_bind_virq_t bind{.virq = VIRQ_CON_RING, .vcpu = 0};
    ASSERT_EQ(m.events(zero, EVTCHNOP_bind_virq, &bind), 0);
    console_print_line("", "news");
    console_announce();
    EXPECT_TRUE(zero.events.is_pending(PortNo(bind.port)).value());
    zero.shared->evtchn_pending[0] = 0;
    console_announce();
    EXPECT_FALSE(zero.events.is_pending(PortNo(bind.port)).value());
}

} // namespace
} // namespace domus::test
