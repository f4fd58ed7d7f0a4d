// The guard in brief, under sanitizers and with the fake machine's judge of every write; and every sequence that ever
// broke something.
#include "tests/guard/runs.hpp"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace domus::guard {
namespace {

class Brief : public testing::TestWithParam<u64> {};

TEST_P(Brief, NothingIsBroken) {
    const Outcome outcome = run_apart(random_steps(GetParam(), 4000), true);
    EXPECT_TRUE(outcome.sound) << "seed " << GetParam() << ", step " << outcome.steps << ": " << outcome.why;
    EXPECT_EQ(outcome.steps, 4000u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, Brief, testing::Range<u64>(1, 9));

TEST(Replay, NothingThatOnceBrokeBreaksAgain) {
    usize files = 0;
    for (const auto& file : std::filesystem::directory_iterator(GUARD_SEEDS)) {
        std::ifstream in(file.path());
        const Outcome outcome = run_apart(read_steps(in), true);
        EXPECT_TRUE(outcome.sound) << file.path() << ": " << outcome.why;
        ++files;
    }
    EXPECT_GT(files, 0u);
}

TEST(Steps, AreReadAsTheyWereWritten) {
    const Steps steps = random_steps(3, 20);
    std::stringstream text;
    text << "# a comment\n\n";
    write_steps(text, steps);
    const Steps again = read_steps(text);
    ASSERT_EQ(again.size(), steps.size());
    EXPECT_EQ(std::memcmp(again.data(), steps.data(), steps.size() * sizeof(Step)), 0);
    std::istringstream wrong("00112233\n");
    EXPECT_THROW(read_steps(wrong), std::runtime_error);
}

} // namespace
} // namespace domus::guard
