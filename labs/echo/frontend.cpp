// See frontend.hpp.
#include "labs/echo/frontend.hpp"

#include <cstring>

namespace domus::echo {

Task<Result<void>> Echo::connect() {
    auto& kit = front_.kit();
    CO_CHECK(co_await front_.begin());
    CO_LET(page, kit.platform.take_pages());
    CO_LET(text, kit.platform.take_pages());
    page_ = page;
    text_ = text;
    ring_ = {page_, page_size};
    CO_LET(ring_reference, kit.grants.lend(front_.backend(), page_));
    ring_reference_ = ring_reference;
    CO_LET(text_reference, kit.grants.lend(front_.backend(), text_));
    text_reference_ = text_reference;
    CO_LET(port, kit.platform.open_port(front_.backend(), event_));
    port_ = port;
    CO_CHECK(co_await front_.write("ring-ref", ring_reference_));
    CO_CHECK(co_await front_.write("event-channel", port_));
    CO_CHECK(co_await front_.finish());
    connected_ = true;
    kit.platform.tasks.start(watch_backend());
    co_return Result<void>();
}

Task<void> Echo::watch_backend() {
    co_await front_.gone();
    connected_ = false;
    event_.notify();
}

Task<Result<void>> Echo::shout(std::span<char> text) {
    if (!connected_)
        co_return Err::NoDev;
    if (text.size() > page_size)
        co_return Err::TooBig;
    std::memcpy(text_, text.data(), text.size());
    ring_.put({++last_id_, text_reference_, 0, static_cast<u16>(text.size())});
    if (ring_.push())
        front_.kit().platform.notify(port_);
    for (;;) {
        if (const auto response = ring_.take()) {
            if (response->id != last_id_ || response->status != okay)
                co_return Err::Io;
            std::memcpy(text.data(), text_, text.size());
            co_return Result<void>();
        }
        if (ring_.broken() || !connected_)
            co_return Err::NoDev;
        if (!ring_.arm())
            co_await event_.wait();
    }
}

Task<Result<void>> Echo::close() {
    auto& kit = front_.kit();
    const auto closed = co_await front_.close();
    kit.platform.close_port(port_);
    CO_CHECK(kit.grants.take_back(ring_reference_)); // what the backend keeps is not used again
    CO_CHECK(kit.grants.take_back(text_reference_));
    kit.platform.give_page(page_);
    kit.platform.give_page(text_);
    co_return closed;
}

} // namespace domus::echo
