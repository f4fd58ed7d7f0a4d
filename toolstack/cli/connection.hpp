// The client's end of the API: one request, its stages, its answer. Owner: a verb. No lock; runs its own io_context.
#pragma once

#include "domus.pb.h"

#include <functional>
#include <string>

namespace domus::cli {

struct CallOptions {
    std::string socket;
    /// Told a stage when the work takes over a second: the one under way then, and each later one. Empty: no stages.
    std::function<void(const std::string& text, double seconds)> stage;
};

/// Sends the request and returns its answer. Throws std::runtime_error with domusd's message when the answer is an
/// error, or with what to do when domusd is not there or of another version.
proto::Response call(const proto::Request& request, const CallOptions& options);

} // namespace domus::cli
