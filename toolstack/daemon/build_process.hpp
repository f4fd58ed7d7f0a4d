// The domain builder in a process of its own: it parses kernel images that nobody vouches for, and it takes seconds
// that domusd has better uses for. Owner: domusd's main. No lock. The child dies with domusd.
#pragma once

#include "toolstack/engine/builder.hpp"

#include <functional>

namespace domus::daemon {

class BuildProcess : public engine::Builder {
public:
    /// What the child does. It may throw; the text of the exception reaches the caller of build().
    using Job = std::function<build::Result(const build::Request&, engine::Progress)>;

    explicit BuildProcess(Job job) : job_(std::move(job)) {}

    boost::asio::awaitable<build::Result> build(build::Request request, engine::Progress progress) override;

private:
    [[noreturn]] void run_child(int pipe, pid_t parent, const build::Request& request);

    Job job_;
};

} // namespace domus::daemon
