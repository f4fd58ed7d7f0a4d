// See guest.hpp.
#include "backend-drivers/console/guest.hpp"

#include <cerrno>
#include <cstring>

#include <boost/system/system_error.hpp>
#include <spdlog/spdlog.h>

namespace domus::console {

namespace asio = boost::asio;

Guest::Guest(asio::any_io_executor executor, std::uint16_t domid)
    : executor_(executor), domid_(domid), input_taken_(executor) {}

asio::awaitable<void> Guest::serve(std::shared_ptr<xencons_interface> page,
                                   std::shared_ptr<client::EventChannels> events, std::uint32_t remote_port,
                                   GuestLog log) {
    const auto self = shared_from_this();
    ring_ = std::make_unique<Ring>(std::move(page));
    log_ = std::move(log);
    port_ = backend::Port(std::move(events), domid_, remote_port);
    try {
        while (!closed_) {
            if (transfer()) {
                port_.notify();
            }
            co_await keep_share();
            if (!closed_) {
                co_await port_.wait();
            }
        }
    } catch (const boost::system::system_error& error) {
        if (!closed_) {
            throw;
        }
    }
}

void Guest::close() {
    if (closed_) {
        return;
    }
    closed_ = true;
    if (port_) {
        transfer();
        port_.close(); // ends the wait in serve()
    }
    ring_.reset();
    input_taken_.notify();
    const auto listeners = std::move(listeners_);
    listeners_.clear();
    for (Listener* listener : listeners) {
        listener->ended();
    }
}

void Guest::input(std::string_view bytes) {
    input_.append(bytes);
    if (port_ && transfer()) {
        port_.notify();
    }
}

bool Guest::transfer() {
    Ring::Taken taken = ring_->take_output();
    if (taken.corrupt && !corrupt_seen_) {
        corrupt_seen_ = true; // once: a guest must not fill the daemon's log
        spdlog::warn("domain {} ({}): its console ring's indices are corrupt; output was skipped", domid_, name_);
    }
    if (!taken.bytes.empty()) {
        this_second_ += taken.bytes.size();
        publish(taken.bytes);
    }
    const std::size_t given = input_.empty() ? 0 : ring_->give_input(input_);
    if (given != 0) {
        input_.erase(0, given);
        input_taken_.notify();
    }
    return !taken.bytes.empty() || given != 0 || taken.corrupt;
}

void Guest::publish(std::string_view bytes) {
    scrollback_.add(bytes);
    const bool kept = log_.add(bytes);
    if (!kept && !log_failed_) {
        spdlog::warn("domain {} ({}): console log cannot be written: {}; output is kept for terminals only", domid_,
                     name_, ::strerror(errno));
    }
    log_failed_ = !kept;
    for (Listener* listener : listeners_) {
        listener->output(bytes);
    }
}

asio::awaitable<void> Guest::keep_share() {
    using namespace std::chrono_literals;
    const auto now = std::chrono::steady_clock::now();
    if (now - second_began_ >= 1s) {
        second_began_ = now;
        this_second_ = 0;
    } else if (this_second_ > output_per_second) {
        asio::steady_timer rest(executor_, second_began_ + 1s);
        co_await rest.async_wait(asio::use_awaitable);
    }
}

} // namespace domus::console
