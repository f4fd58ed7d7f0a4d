// Steps to take back when work of several steps fails half-way. Owner: the function doing the work. No lock.
// Destructors cannot wait for I/O, so the one way to use it is with_undo(), which rolls back before it rethrows.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <exception>
#include <functional>
#include <spdlog/spdlog.h>
#include <string>
#include <utility>
#include <vector>

namespace domus::engine {

namespace asio = boost::asio;

class UndoStack {
public:
    using Action = std::function<asio::awaitable<void>()>;

    /// `action` runs if the work fails later; `what` names it in the log.
    void push(std::string what, Action action) { steps_.emplace_back(std::move(what), std::move(action)); }

    /// Runs the actions, the latest first. One that fails is logged and the others still run.
    asio::awaitable<void> roll_back() {
        while (!steps_.empty()) {
            auto step = std::move(steps_.back());
            steps_.pop_back();
            try {
                co_await step.second();
            } catch (const std::exception& e) {
                spdlog::error("taking back \"{}\" failed: {}", step.first, e.what());
            }
        }
    }

private:
    std::vector<std::pair<std::string, Action>> steps_;
};

/// Runs `body(UndoStack&)`, an awaitable; when it throws, takes back what it has pushed and rethrows.
template <class Body>
asio::awaitable<void> with_undo(Body body) {
    UndoStack undo;
    std::exception_ptr failure;
    try {
        co_await body(undo);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await undo.roll_back();
        std::rethrow_exception(failure);
    }
}

} // namespace domus::engine
