// Console rings with good and with hostile indices, scrollback, log files, the protocol's first line.
#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "backend-drivers/console/guest_log.hpp"
#include "backend-drivers/console/protocol.hpp"
#include "backend-drivers/console/ring.hpp"
#include "backend-drivers/console/scrollback.hpp"

namespace domus::console {
namespace {

namespace fs = std::filesystem;

void guest_writes(xencons_interface& page, std::string_view text) {
    for (const char c : text) {
        page.out[MASK_XENCONS_IDX(page.out_prod++, page.out)] = c;
    }
}

std::string guest_reads(xencons_interface& page) {
    std::string text;
    while (page.in_cons != page.in_prod) {
        text += page.in[MASK_XENCONS_IDX(page.in_cons++, page.in)];
    }
    return text;
}

TEST(Ring, CarriesBytesAcrossEveryWrap) {
    auto page = std::make_shared<xencons_interface>();
    page->out_prod = page->out_cons = page->in_prod = page->in_cons = 0xffffff00; // indices wrap at 2^32
    Ring ring(page);
    for (int i = 0; i < 1000; ++i) {
        const std::string text = "line " + std::to_string(i) + std::string(i % 900, '.');
        guest_writes(*page, text);
        EXPECT_EQ(ring.take_output().bytes, text);
        EXPECT_EQ(ring.give_input(text), text.size());
        EXPECT_EQ(guest_reads(*page), text);
    }
}

TEST(Ring, FullRings) {
    auto page = std::make_shared<xencons_interface>();
    Ring ring(page);
    guest_writes(*page, std::string(2048, 'x'));
    EXPECT_EQ(ring.take_output().bytes.size(), 2048u);
    EXPECT_EQ(ring.give_input(std::string(3000, 'y')), 1024u);
    EXPECT_EQ(ring.give_input("z"), 0u);
    EXPECT_EQ(guest_reads(*page), std::string(1024, 'y'));
}

TEST(Ring, NonsenseIsSkippedAndTheGuestCanGoOn) {
    auto page = std::make_shared<xencons_interface>();
    Ring ring(page);
    page->out_prod = 2049;
    const auto taken = ring.take_output();
    EXPECT_TRUE(taken.corrupt);
    EXPECT_TRUE(taken.bytes.empty());
    guest_writes(*page, "again");
    EXPECT_EQ(ring.take_output().bytes, "again");
    page->in_cons = page->in_prod + 1;
    EXPECT_EQ(ring.give_input("x"), 0u);
}

TEST(Ring, GarbageNeverLeavesThePage) { // under ASan: the page is exactly as long as the structure
    auto page = std::make_shared<xencons_interface>();
    Ring ring(page);
    std::mt19937 random(1);
    for (int i = 0; i < 20000; ++i) {
        const int width = static_cast<int>(random() % 32);
        page->out_prod = random() >> width;
        page->out_cons = random() >> width;
        page->in_prod = random() >> width;
        page->in_cons = random() >> width;
        EXPECT_LE(ring.take_output().bytes.size(), sizeof page->out);
        EXPECT_LE(ring.give_input(std::string(random() % 2000, 'i')), sizeof page->in);
    }
}

TEST(Scrollback, KeepsTheLastWholeLines) {
    Scrollback scrollback(100);
    scrollback.add("short");
    EXPECT_EQ(scrollback.recent(), "short");
    for (int i = 0; i < 1000; ++i) {
        scrollback.add("line " + std::to_string(i) + "\n");
    }
    const std::string recent = scrollback.recent();
    EXPECT_LE(recent.size(), 100u);
    EXPECT_EQ(recent.substr(0, 5), "line ");
    EXPECT_EQ(recent.substr(recent.size() - 9), "line 999\n");
    Scrollback endless(100);
    endless.add(std::string(1000, 'x'));
    EXPECT_EQ(endless.recent().size(), 100u);
}

TEST(LogName, NeverLeavesTheFolder) {
    EXPECT_EQ(log_file_name("web-1.example", 3), "web-1.example.log");
    EXPECT_EQ(log_file_name("../../etc/passwd", 3), "_._.._etc_passwd.log");
    EXPECT_EQ(log_file_name("", 3), "domain-3.log");
    EXPECT_EQ(log_file_name(std::string("a\0b\n", 4), 3), "a_b_.log");
    EXPECT_LT(log_file_name(std::string(5000, 'n'), 3).size(), 255u);
}

struct LogTest : testing::Test {
    fs::path folder = fs::path(testing::TempDir()) / ("domus-log-" + std::to_string(::getpid()));
    void SetUp() override { fs::create_directories(folder); }
    void TearDown() override { fs::remove_all(folder); }
    static std::string content(const fs::path& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
};

TEST_F(LogTest, GrowsNoFurtherThanItsBoundAndGoesOnAfterARestart) {
    const fs::path path = folder / "g.log";
    for (int start = 0; start < 3; ++start) {
        GuestLog log(path, 1000);
        for (int i = 0; i < 50; ++i) {
            EXPECT_TRUE(log.add("0123456789012345678\n"));
        }
    }
    EXPECT_LE(fs::file_size(path), 1000u);
    EXPECT_EQ(fs::file_size(folder / "g.log.1"), 1000u);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2);
}

TEST_F(LogTest, ALinkInItsPlaceIsNotFollowed) {
    fs::create_symlink(folder / "target", folder / "g.log");
    GuestLog log(folder / "g.log", 1000);
    EXPECT_FALSE(log.add("x"));
    EXPECT_FALSE(fs::exists(folder / "target"));
    fs::remove(folder / "g.log");
    EXPECT_TRUE(log.add("y")) << "tried anew when the obstacle is gone";
    EXPECT_EQ(content(folder / "g.log"), "y");
}

TEST(Protocol, TakesWhatItMakesAndNothingElse) {
    const auto parsed = parse_attach("domus-console 1 attach 12 resume");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->domid, 12);
    EXPECT_FALSE(parsed->replay);
    EXPECT_EQ(format(*parsed), "domus-console 1 attach 12 resume\n");
    for (const char* bad : {"", "attach 1", "domus-console 1 attach ", "domus-console 1 attach x replay",
                            "domus-console 1 attach 70000 replay", "domus-console 1 attach 1 replay ",
                            "domus-console 1 attach -1 replay", "domus-console 2 attach 1 replay"}) {
        EXPECT_FALSE(parse_attach(bad)) << bad;
    }
}

} // namespace
} // namespace domus::console
