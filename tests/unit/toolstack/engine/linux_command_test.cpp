// A program that domusd starts, as it is: its end and what it said, and that nothing is left of one that is given up.
#include "toolstack/engine/linux_host.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

namespace domus::engine {
namespace {

Ended end_of(Command& command) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
        if (const auto ended = command.ended())
            return *ended;
        if (std::chrono::steady_clock::now() > give_up)
            throw std::runtime_error("the program does not end");
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

TEST(LinuxCommand, SaysHowItEnded) {
    LinuxHost host;
    const auto command = host.start_command({"sh", "-c", "echo \"$0 $1\"; echo wrong >&2; exit 3", "a b", "--"});
    const auto ended = end_of(*command);
    EXPECT_EQ(ended.status, 3);
    EXPECT_EQ(ended.said, "a b --\nwrong\n") << "words go to it as they are";
    EXPECT_EQ(end_of(*host.start_command({"sh", "-c", "kill -ALRM $$"})).status, 128 + 14);
    EXPECT_EQ(end_of(*host.start_command({"sh", "-c", "yes | head -c 100000"})).said.size(), 4096u);
    EXPECT_EQ(end_of(*host.start_command({"cat"})).said, "") << "it has nothing to read";
}

TEST(LinuxCommand, OneThatSomebodyElseWaitedForDidNotEndWell) {
    LinuxHost host;
    const auto command = host.start_command({"true"});
    ASSERT_GT(::waitpid(-1, nullptr, 0), 0);
    const auto ended = end_of(*command);
    EXPECT_EQ(ended.status, 128);
    EXPECT_THAT(ended.said, testing::HasSubstr("not known"));
}

TEST(LinuxCommand, OneThatIsNotThere) {
    LinuxHost host;
    EXPECT_EQ(host.start_command({"no-such-program-of-ours"}), nullptr);
}

TEST(LinuxCommand, GivenUpItIsKilled) {
    LinuxHost host;
    const auto fifo = testing::TempDir() + "domus-command-" + std::to_string(::getpid());
    auto command = host.start_command(
        {"sh", "-c", "trap '' TERM; echo $$ >" + fifo + ".part; mv " + fifo + ".part " + fifo + "; exec sleep 1000"});
    while (!std::filesystem::exists(fifo))
        ASSERT_FALSE(command->ended());
    std::ifstream file(fifo);
    int pid = 0;
    file >> pid;
    ASSERT_GT(pid, 1);
    command.reset();
    EXPECT_FALSE(std::filesystem::exists("/proc/" + std::to_string(pid)));
    std::filesystem::remove(fifo);
}

} // namespace
} // namespace domus::engine
