// Filling a new domain with a kernel, as the engine sees it. Owner: domusd's main. No lock.
// The real one (toolstack/daemon/build_process.hpp) runs the domain builder in a process of its own.
#pragma once

#include "toolstack/build/build.hpp"

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string_view>

namespace domus::engine {

using Progress = std::function<void(std::string_view stage)>;

class Builder {
public:
    virtual ~Builder() = default;
    /// Builds the domain. Throws std::runtime_error with a message for a person; the caller destroys the domain.
    virtual boost::asio::awaitable<build::Result> build(build::Request request, Progress progress) = 0;
};

} // namespace domus::engine
