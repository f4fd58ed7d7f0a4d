// The client's end of the API. No lock.
#include <utility>

#include "toolstack/cli/connection.hpp"

#include "toolstack/proto/frame.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::cli {

namespace {

namespace asio = boost::asio;
constexpr std::chrono::seconds quiet_time{1};

asio::awaitable<proto::Socket> connect(const std::string& path) {
    proto::Socket socket(co_await asio::this_coro::executor);
    const auto [failed] = co_await socket.async_connect(path, asio::as_tuple(asio::use_awaitable));
    if (failed == boost::system::errc::no_such_file_or_directory || failed == boost::system::errc::connection_refused)
        throw std::runtime_error(
            fmt::format("domusd is not running (nobody answers at {}); start it in dom0: domusd &", path));
    if (failed == boost::system::errc::permission_denied)
        throw std::runtime_error(fmt::format("{} may be used by root only; run domus as root", path));
    if (failed)
        throw std::runtime_error(fmt::format("cannot reach domusd at {}: {}", path, failed.message()));

    proto::Hello ours, theirs;
    ours.set_version(proto::kProtocolVersion);
    ours.set_program("domus");
    co_await proto::send(socket, ours);
    co_await proto::receive(socket, theirs);
    const auto complaint =
        proto::version_complaint(proto::kProtocolVersion, "domus", theirs.version(), theirs.program());
    if (!complaint.empty())
        throw std::runtime_error(complaint);
    co_return socket;
}

/// Shows the stage under way once the quiet time is over, and later stages as they come.
class Stages {
public:
    Stages(asio::any_io_executor executor, const CallOptions& options) : timer_(executor), options_(options) {
        timer_.expires_after(quiet_time);
        if (options_.stage)
            timer_.async_wait([this](const boost::system::error_code& failed) {
                if (!failed)
                    end_quiet_time();
            });
    }

    void came(const proto::Stage& stage) {
        text_ = stage.text();
        if (loud_ && options_.stage)
            options_.stage(text_, seconds());
    }

private:
    void end_quiet_time() {
        loud_ = true;
        if (!text_.empty())
            options_.stage(text_, seconds());
    }

    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    }

    asio::steady_timer timer_;
    const CallOptions& options_;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::string text_;
    bool loud_ = false;
};

asio::awaitable<proto::Response> exchange(const proto::Request& request, const CallOptions& options) {
    auto socket = co_await connect(options.socket);
    Stages stages(socket.get_executor(), options);
    co_await proto::send(socket, request);
    for (;;) {
        proto::Response response;
        co_await proto::receive(socket, response);
        if (!response.has_stage())
            co_return response;
        stages.came(response.stage());
    }
}

} // namespace

proto::Response call(const proto::Request& request, const CallOptions& options) {
    asio::io_context io(1);
    proto::Response response;
    std::exception_ptr failure;
    asio::co_spawn(io, exchange(request, options), [&](std::exception_ptr failed, proto::Response answer) {
        failure = failed;
        response = std::move(answer);
        io.stop();
    });
    io.run();
    try {
        if (failure)
            std::rethrow_exception(failure);
    } catch (const boost::system::system_error& e) {
        throw std::runtime_error(
            fmt::format("domusd went away before it answered ({}); look into its log, start it again, and "
                        "check by domus list what was done",
                        e.code().message()));
    }
    if (response.has_error())
        throw std::runtime_error(response.error().message());
    return response;
}

} // namespace domus::cli
