// One request of the API to the engine and its answer back. Owner: the server. No lock.
#pragma once

#include "toolstack/engine/engine.hpp"
#include "toolstack/engine/perf.hpp"

#include "domus.pb.h"

#include <functional>

namespace domus::daemon {

struct Dispatcher {
    engine::Engine& engine;
    engine::Hypervisor& hypervisor;
    engine::Host& host;
    engine::PerfSource& perf;

    /// Does what `request` asks. `stage` is told the stages of long work. Never throws for what the request holds:
    /// the answer is then an Error.
    boost::asio::awaitable<proto::Response> answer(proto::Request request, engine::Progress stage);

private:
    boost::asio::awaitable<proto::Response> dispatch(const proto::Request& request, engine::Progress stage);
};

} // namespace domus::daemon
