// A device's figures: written in place, read from outside, harmless when they cannot be written.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend-drivers/common/stats.hpp"

namespace domus::backend {
namespace {

struct StatsTest : testing::Test {
    std::string path = testing::TempDir() + "domus-stats-" + std::to_string(::getpid());
    ~StatsTest() override { std::filesystem::remove(path); }
};

TEST_F(StatsTest, FiguresAreReadFromOutside) {
    Stats stats(path);
    auto requests = stats.count("q0.requests");
    auto index = stats.level("q0.req_cons");
    requests.add();
    requests.add(41);
    index.set(7);
    const auto figures = stats::read(path);
    ASSERT_EQ(figures.size(), 2u);
    EXPECT_EQ(figures[0].name, "q0.requests");
    EXPECT_EQ(figures[0].kind, stats::Kind::Count);
    EXPECT_EQ(figures[0].value, 42u);
    EXPECT_EQ(figures[1].name, "q0.req_cons");
    EXPECT_EQ(figures[1].value, 7u);
}

TEST_F(StatsTest, OneNameIsOneFigure) {
    Stats stats(path);
    stats.count("a").add();
    stats.count("a").add();
    EXPECT_EQ(stats::read(path).size(), 1u);
    EXPECT_EQ(stats::read(path)[0].value, 2u);
}

TEST_F(StatsTest, MoreFiguresThanRoomHarmNobody) {
    Stats stats(path);
    for (int i = 0; i < 300; ++i) {
        stats.count("figure with a long name " + std::to_string(i)).add();
        stats.count(std::to_string(i)).add();
    }
    EXPECT_EQ(stats::read(path).size(), stats::most_entries);
}

TEST_F(StatsTest, TheFileGoesWithTheDevice) {
    { Stats stats(path); }
    EXPECT_FALSE(std::filesystem::exists(path));
    Stats nowhere("/proc/no-such-folder/x");
    nowhere.count("a").add();
    EXPECT_EQ(nowhere.count("a").get(), 1u);
}

TEST_F(StatsTest, AnotherFileIsRefused) {
    std::ofstream(path) << std::string(5000, 'x');
    EXPECT_THROW(stats::read(path), std::runtime_error);
    EXPECT_THROW(stats::read(path + "-absent"), std::runtime_error);
}

TEST_F(StatsTest, ATerminalIsToldNothing) {
    Stats stats(path);
    stats.count("a\x1b[2J").add();
    EXPECT_EQ(stats::read(path)[0].name, "a?[2J");
}

// Whoever holds the daemon chooses what lies in its folder, and domusd, who is root, reads it.
TEST_F(StatsTest, NothingIsReadThroughALinkAndNobodyIsWaitedFor) {
    const std::string other = path + "-other";
    Stats real(other);
    real.count("a").add();
    ASSERT_EQ(stats::read(other).size(), 1u);
    std::filesystem::create_symlink(other, path);
    EXPECT_THROW(stats::read(path), std::runtime_error);
    std::filesystem::remove(path);
    std::filesystem::create_hard_link(other, path);
    EXPECT_THROW(stats::read(path), std::runtime_error);
    std::filesystem::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_THROW(stats::read(path), std::runtime_error);
    EXPECT_THROW(stats::writer(path), std::runtime_error);
}

} // namespace
} // namespace domus::backend
