// The builder's child process: results and stages come over, and its death in any form is an error with a reason.
#include <utility>

#include "toolstack/daemon/build_process.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace domus::daemon {
namespace {

namespace asio = boost::asio;
using engine::Progress;
using testing::HasSubstr;

struct BuildProcessTest : testing::Test {
    std::vector<std::string> stages;

    build::Result run(BuildProcess::Job job) {
        asio::io_context io(1);
        BuildProcess builder(std::move(job));
        build::Request request;
        request.domid = 5;
        Progress note = [this](std::string_view stage) { stages.emplace_back(stage); };
        auto result = asio::co_spawn(io, builder.build(request, std::move(note)), asio::use_future);
        io.run();
        return result.get();
    }
    std::string failure(BuildProcess::Job job) {
        try {
            run(std::move(job));
            return "";
        } catch (const std::exception& e) {
            return e.what();
        }
    }
};

TEST_F(BuildProcessTest, ResultAndStages) {
    const auto rings = run([](const build::Request& request, Progress progress) {
        progress("one");
        progress("two\nlines");
        build::Result result;
        result.store_mfn = request.domid;
        result.console_mfn = ~0ull;
        result.store_gref = 1;
        result.console_gref = ~0u;
        return result;
    });
    EXPECT_EQ(rings.store_mfn, 5u);
    EXPECT_EQ(rings.console_mfn, ~0ull);
    EXPECT_EQ(rings.console_gref, ~0u);
    EXPECT_THAT(stages, testing::ElementsAre("one", "two lines"));
}

TEST_F(BuildProcessTest, AnExceptionsTextComesOver) {
    EXPECT_EQ(
        failure([](const build::Request&, Progress) -> build::Result { throw std::runtime_error("no such\nkernel"); }),
        "no such kernel");
}

TEST_F(BuildProcessTest, ADeadChildIsToldByItsSignal) {
    EXPECT_THAT(failure([](const build::Request&, Progress) -> build::Result {
                    ::raise(SIGKILL);
                    return {};
                }),
                HasSubstr("ended by signal 9"));
}

TEST_F(BuildProcessTest, AChildThatLeavesWithoutAResult) {
    EXPECT_THAT(failure([](const build::Request&, Progress) -> build::Result { ::_exit(7); }),
                HasSubstr("ended with status 7 and no result"));
}

TEST_F(BuildProcessTest, LinesBeyondMeasureAreCutOff) {
    EXPECT_NE(failure([](const build::Request&, Progress progress) -> build::Result {
                  progress(std::string(1 << 20, 'x'));
                  return {};
              }),
              "");
}

TEST_F(BuildProcessTest, TheChildEndsWithTheWork) {
    asio::io_context io(1);
    BuildProcess builder([](const build::Request&, Progress progress) -> build::Result {
        progress(std::to_string(::getpid()));
        for (;;)
            ::pause();
    });
    pid_t child = 0;
    {
        Progress note = [&](std::string_view text) {
            child = std::stoi(std::string(text));
            io.stop(); // domusd is told to end
        };
        asio::co_spawn(io, builder.build(build::Request(), std::move(note)), [](std::exception_ptr, build::Result) {});
        io.run();
    }
    ASSERT_GT(child, 0);
    io.~io_context(); // destroys the waiting coroutine
    new (&io) asio::io_context(1);
    EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), -1) << "killed and waited for";
    EXPECT_NE(::kill(child, 0), 0);
}

} // namespace
} // namespace domus::daemon
