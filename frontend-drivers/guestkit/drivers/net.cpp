// See net.hpp.
#include "frontend-drivers/guestkit/drivers/net.hpp"

#include <algorithm>
#include <cstring>

namespace domus::guest {
namespace {

struct Feature {
    std::string_view name;
    u64 value;
};
constexpr Feature features[] = {
    {"request-rx-copy", 1},   {"feature-rx-notify", 1}, {"feature-no-csum-offload", 1},   {"feature-sg", 0},
    {"feature-gso-tcpv4", 0}, {"feature-gso-tcpv6", 0}, {"feature-ipv6-csum-offload", 0},
};

// "00:16:3e:01:02:03"
bool parse_address(std::string_view text, MacAddress& address) {
    if (text.size() != 17)
        return false;
    for (usize i = 0; i < address.size(); ++i) {
        u32 value = 0;
        for (usize digit = 0; digit < 2; ++digit) {
            const char c = text[i * 3 + digit];
            const bool number = c >= '0' && c <= '9', letter = (c | 32) >= 'a' && (c | 32) <= 'f';
            if (!number && !letter)
                return false;
            value = value * 16 + static_cast<u32>(number ? c - '0' : (c | 32) - 'a' + 10);
        }
        if (i < 5 && text[i * 3 + 2] != ':')
            return false;
        address[i] = static_cast<u8>(value);
    }
    return true;
}

} // namespace

NetworkCard::NetworkCard(Kit& kit, u32 id)
    : front_(kit, "vif", id), platform_(kit.platform), grants_(kit.grants), event_(kit.platform.tasks),
      room_(kit.platform.tasks), there_(kit.platform.tasks) {}

Result<void> NetworkCard::lend_all() {
    const auto fill = [this](Buffer& buffer, Lend how) -> Result<void> {
        buffer.page = TRY(platform_.take_pages());
        buffer.reference = TRY(grants_.lend(front_.backend(), buffer.page, how));
        return {};
    };
    TRY(fill(tx_ring_, Lend::Writable));
    TRY(fill(rx_ring_, Lend::Writable));
    for (auto& buffer : tx_buffer_)
        TRY(fill(buffer, Lend::ReadOnly));
    for (auto& buffer : rx_buffer_)
        TRY(fill(buffer, Lend::Writable));
    return {};
}

Result<void> NetworkCard::give_all_back() {
    const auto drain = [this](Buffer& buffer) -> Result<void> {
        TRY(grants_.take_back(buffer.reference)); // what the backend keeps is not used again
        platform_.give_page(buffer.page);
        return {};
    };
    u32 kept = 0;
    kept += !drain(tx_ring_);
    kept += !drain(rx_ring_);
    for (auto& buffer : tx_buffer_)
        kept += !drain(buffer);
    for (auto& buffer : rx_buffer_)
        kept += !drain(buffer);
    if (kept != 0)
        return Err::Busy;
    return {};
}

Task<Result<void>> NetworkCard::publish() {
    CO_CHECK(co_await front_.write("tx-ring-ref", tx_ring_.reference));
    CO_CHECK(co_await front_.write("rx-ring-ref", rx_ring_.reference));
    CO_CHECK(co_await front_.write("event-channel", port_));
    for (const auto& feature : features)
        CO_CHECK(co_await front_.write(feature.name, feature.value));
    co_return Result<void>();
}

Task<Result<void>> NetworkCard::connect() {
    CO_CHECK(co_await front_.begin());
    const Text<> node("device/vif/", front_.id(), "/mac");
    CO_LET(mac, co_await front_.kit().store.read(node));
    if (!parse_address(mac, address_))
        co_return Err::Inval;
    CO_CHECK(lend_all());
    tx_ = {tx_ring_.page, page_size};
    rx_ = {rx_ring_.page, page_size};
    CO_LET(port, platform_.open_port(front_.backend(), event_));
    port_ = port;
    for (tx_free_count_ = 0; tx_free_count_ < tx_buffers; ++tx_free_count_) {
        tx_free_[tx_free_count_] = static_cast<u16>(tx_free_count_);
        under_way_[tx_free_count_] = false;
    }
    arrived_count_ = 0;
    in_long_frame_ = false;
    for (u16 i = 0; i < rx_buffers; ++i)
        post(i);
    rx_.push(); // nobody is there yet to be notified
    CO_CHECK(co_await publish());
    CO_CHECK(co_await front_.finish(XenbusStateConnected));
    connected_ = true;
    platform_.notify(port_); // buffers are there
    platform_.tasks.start(serve());
    platform_.tasks.start(watch_backend());
    co_return Result<void>();
}

Task<Result<void>> NetworkCard::close() {
    end();
    const auto closed = co_await front_.close();
    platform_.close_port(port_);
    CO_CHECK(give_all_back());
    co_return closed;
}

Task<void> NetworkCard::watch_backend() {
    co_await front_.gone();
    end();
}

void NetworkCard::end() {
    connected_ = false;
    for (Event* event : {&event_, &room_, &there_})
        event->notify();
}

void NetworkCard::post(u16 buffer) {
    posted_[buffer] = true;
    rx_.put({buffer, 0, rx_buffer_[buffer].reference});
}

// False: the backend answered what was never asked.
bool NetworkCard::take_sent() {
    while (const auto response = tx_.take()) {
        if (response->id >= tx_buffers || !std::exchange(under_way_[response->id], false))
            return false;
        tx_free_[tx_free_count_++] = response->id;
        room_.notify();
    }
    return !tx_.broken();
}

bool NetworkCard::take_received() {
    while (const auto response = rx_.take()) {
        if (response->id >= rx_buffers || !std::exchange(posted_[response->id], false))
            return false;
        const bool more = response->flags & (NETRXF_more_data | NETRXF_extra_info);
        const bool whole = !std::exchange(in_long_frame_, more) && !more;
        const bool good = response->status > 0 && response->offset + u32(response->status) <= page_size;
        if (!whole || !good) {
            ++dropped_;
            post(response->id);
            continue;
        }
        arrived_[(arrived_first_ + arrived_count_++) % rx_buffers] = {response->id, response->offset,
                                                                      static_cast<u16>(response->status)};
        there_.notify();
    }
    return !rx_.broken();
}

Task<void> NetworkCard::serve() {
    while (connected_) {
        if (!take_sent() || !take_received()) {
            platform_.say("network card: the backend broke the protocol\n");
            co_return end();
        }
        if (rx_.push())
            platform_.notify(port_);
        const bool sent = tx_.arm(), received = rx_.arm();
        if (!sent && !received && !tx_.broken() && !rx_.broken())
            co_await event_.wait();
    }
}

Task<Result<void>> NetworkCard::send(std::span<const u8> frame) {
    if (frame.size() < 14 || frame.size() > longest_frame)
        co_return Err::Inval;
    while (connected_ && tx_free_count_ == 0)
        co_await room_.wait();
    if (!connected_)
        co_return Err::NoDev;
    const u16 buffer = tx_free_[--tx_free_count_];
    under_way_[buffer] = true;
    std::memcpy(tx_buffer_[buffer].page, frame.data(), frame.size());
    tx_.put({tx_buffer_[buffer].reference, 0, 0, buffer, static_cast<u16>(frame.size())});
    if (tx_.push())
        platform_.notify(port_);
    co_return Result<void>();
}

Task<Result<usize>> NetworkCard::receive(std::span<u8> to) {
    while (connected_ && arrived_count_ == 0)
        co_await there_.wait();
    if (!connected_)
        co_return Err::NoDev;
    const Arrived frame = arrived_[arrived_first_];
    arrived_first_ = (arrived_first_ + 1) % rx_buffers;
    --arrived_count_;
    const usize length = std::min<usize>(frame.length, to.size());
    std::memcpy(to.data(), rx_buffer_[frame.buffer].page + frame.offset, length);
    post(frame.buffer);
    if (rx_.push())
        platform_.notify(port_);
    co_return length;
}

} // namespace domus::guest
