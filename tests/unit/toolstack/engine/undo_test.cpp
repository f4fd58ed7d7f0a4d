// Work of several steps that fails half-way is taken back, the latest step first.
#include "toolstack/engine/undo.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine {
namespace {

using testing::ElementsAre;
using Steps = std::vector<std::string>;

/// Runs a body under with_undo() to its end; the message it failed with, or "".
template <class Body>
std::string run(Body body) {
    asio::io_context io;
    std::string message;
    asio::co_spawn(io, with_undo(body), [&](std::exception_ptr failure) {
        try {
            if (failure)
                std::rethrow_exception(failure);
        } catch (const std::exception& e) {
            message = e.what();
        }
    });
    io.run();
    return message;
}

UndoStack::Action note(Steps& log, std::string text) {
    return [&log, text]() -> asio::awaitable<void> {
        const auto executor = co_await asio::this_coro::executor;
        co_await asio::post(executor, asio::use_awaitable); // taking back may wait
        log.push_back(text);
    };
}

TEST(Undo, NothingIsTakenBackAfterSuccess) {
    Steps log;
    EXPECT_EQ(run([&](UndoStack& undo) -> asio::awaitable<void> {
                  undo.push("a", note(log, "a"));
                  co_return;
              }),
              "");
    EXPECT_TRUE(log.empty());
}

TEST(Undo, LatestFirstAndTheFirstFailureIsTold) {
    Steps log;
    EXPECT_EQ(run([&](UndoStack& undo) -> asio::awaitable<void> {
                  undo.push("a", note(log, "a"));
                  undo.push("b", note(log, "b"));
                  undo.push("c", note(log, "c"));
                  throw std::runtime_error("no disk");
                  co_return;
              }),
              "no disk");
    EXPECT_THAT(log, ElementsAre("c", "b", "a"));
}

TEST(Undo, AStepThatCannotBeTakenBackDoesNotStopTheOthers) {
    Steps log;
    EXPECT_EQ(run([&](UndoStack& undo) -> asio::awaitable<void> {
                  undo.push("a", note(log, "a"));
                  undo.push("b", []() -> asio::awaitable<void> {
                      throw std::runtime_error("stuck");
                      co_return;
                  });
                  undo.push("c", note(log, "c"));
                  throw std::runtime_error("no bridge");
                  co_return;
              }),
              "no bridge");
    EXPECT_THAT(log, ElementsAre("c", "a"));
}

} // namespace
} // namespace domus::engine
