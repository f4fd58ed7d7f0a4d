// See net.hpp.
#include "frontend-drivers/guestkit/drivers/net.hpp"

#include <algorithm>

namespace domus::guest {
namespace {

struct Feature {
    std::string_view name;
    u64 plain, offloads; // the node's value without and with them
};
constexpr Feature features[] = {
    {"request-rx-copy", 1, 1},   {"feature-rx-notify", 1, 1}, {"feature-no-csum-offload", 1, 0},   {"feature-sg", 0, 1},
    {"feature-gso-tcpv4", 0, 1}, {"feature-gso-tcpv6", 0, 1}, {"feature-ipv6-csum-offload", 0, 1},
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

NetworkCard::NetworkCard(Kit& kit, u32 id, CardWishes wishes)
    : front_(kit, "vif", id), kit_(kit), wishes_(wishes), queues_{NetQueue(kit), NetQueue(kit)}, control_(kit),
      room_(kit.platform.tasks), there_(kit.platform.tasks), ended_(kit.platform.tasks) {}

Task<Result<void>> NetworkCard::publish() {
    for (const auto& feature : features)
        CO_CHECK(co_await front_.write(feature.name, wishes_.offloads ? feature.offloads : feature.plain));
    if (queue_count_ > 1)
        CO_CHECK(co_await front_.write("multi-queue-num-queues", queue_count_));
    else
        CO_CHECK(co_await front_.remove("multi-queue-num-queues"));
    for (u32 i = 0; i < queue_count_; ++i) {
        const Text<> folder = queue_count_ > 1 ? Text<>("queue-", u64{i}, "/") : Text<>("");
        const Text<> tx(folder, "tx-ring-ref"), rx(folder, "rx-ring-ref"), port(folder, "event-channel");
        CO_CHECK(co_await front_.write(tx, queues_[i].tx_reference()));
        CO_CHECK(co_await front_.write(rx, queues_[i].rx_reference()));
        CO_CHECK(co_await front_.write(port, queues_[i].port()));
    }
    if (control_.is_open()) {
        CO_CHECK(co_await front_.write("ctrl-ring-ref", control_.reference()));
        CO_CHECK(co_await front_.write("event-channel-ctrl", control_.port()));
    } else {
        CO_CHECK(co_await front_.remove("ctrl-ring-ref"));
        CO_CHECK(co_await front_.remove("event-channel-ctrl"));
    }
    co_return Result<void>();
}

Task<void> NetworkCard::read_offers() {
    const u64 scatter = co_await front_.backend_number("feature-sg", 0);
    const u64 no_checksum4 = co_await front_.backend_number("feature-no-csum-offload", 0);
    const u64 checksum6 = co_await front_.backend_number("feature-ipv6-csum-offload", 0);
    const u64 segments4 = co_await front_.backend_number("feature-gso-tcpv4", 0);
    const u64 segments6 = co_await front_.backend_number("feature-gso-tcpv6", 0);
    scatter_ = wishes_.offloads && scatter == 1;
    checksum4_ = wishes_.offloads && no_checksum4 == 0;
    checksum6_ = wishes_.offloads && checksum6 == 1;
    segments4_ = wishes_.offloads && segments4 == 1;
    segments6_ = wishes_.offloads && segments6 == 1;
}

Task<Result<void>> NetworkCard::establish() {
    CO_CHECK(co_await front_.begin());
    const Text<> node("device/vif/", front_.id(), "/mac");
    CO_LET(mac, co_await kit_.store.read(node));
    if (!parse_address(mac, address_))
        co_return Err::Inval;
    co_await read_offers();
    const u64 offered = co_await front_.backend_number("multi-queue-max-queues", 1);
    const u32 count =
        static_cast<u32>(std::clamp<u64>(offered, 1, std::clamp<u32>(wishes_.queues, 1, net_most_queues)));
    for (queue_count_ = 0; queue_count_ < count;)
        CO_CHECK(queues_[queue_count_++].open(front_.backend(), net_most_buffers / count));
    const u64 has_control = co_await front_.backend_number("feature-ctrl-ring", 0);
    if (wishes_.mapped && has_control == 1) {
        CO_CHECK(control_.open(front_.backend()));
        for (u32 i = 0; i < queue_count_; ++i)
            control_.name(i, queues_[i]);
    }
    CO_CHECK(co_await publish());
    co_return co_await front_.finish(XenbusStateConnected);
}

Task<Result<void>> NetworkCard::connect() {
    const auto established = co_await establish();
    if (!established) {
        (void)co_await front_.close();
        for (auto& queue : queues_)
            (void)queue.close();
        (void)control_.close();
        co_return established;
    }
    connected_ = true;
    for (u32 i = 0; i < queue_count_; ++i) {
        kit_.platform.notify(queues_[i].port()); // buffers are there
        kit_.platform.tasks.start(serve(queues_[i]));
    }
    kit_.platform.tasks.start(watch_backend());
    co_return Result<void>();
}

Task<Result<void>> NetworkCard::close() {
    end();
    Result<void> closed = co_await front_.close();
    while (running_ != 0)
        co_await ended_.wait();
    for (auto& queue : queues_) {
        const auto given = queue.close();
        if (!given)
            closed = given;
    }
    const auto given = control_.close();
    if (!given)
        closed = given;
    co_return closed;
}

Task<void> NetworkCard::watch_backend() {
    ++running_;
    co_await front_.gone();
    end();
    --running_;
    ended_.notify();
}

void NetworkCard::end() {
    connected_ = false;
    for (auto& queue : queues_)
        queue.event.notify();
    room_.notify();
    there_.notify();
}

Task<void> NetworkCard::serve(NetQueue& queue) {
    ++running_;
    while (connected_) {
        if (!queue.take()) {
            kit_.platform.say("network card: the backend broke the protocol\n");
            end();
            break;
        }
        queue.push(); // what was posted again
        room_.notify();
        if (queue.frames() != 0)
            there_.notify();
        if (!queue.arm())
            co_await queue.event.wait();
    }
    --running_;
    ended_.notify();
}

bool NetworkCard::can_send(usize bytes, const Offload& how) const {
    if (bytes > longest_frame && !scatter_)
        return false;
    if (how.segment != 0)
        return how.ipv6 ? segments6_ : segments4_;
    return !how.checksum_blank || (how.ipv6 ? checksum6_ : checksum4_);
}

// By the bytes where IPv4 has addresses and TCP and UDP their ports, so that a flow keeps its order.
NetQueue& NetworkCard::queue_for(std::span<const u8> frame) {
    u32 sum = 0;
    for (const u8 byte : frame.subspan(std::min<usize>(frame.size(), 26), frame.size() >= 38 ? 12 : 0))
        sum = sum * 31 + byte;
    return queues_[(sum >> 4) % queue_count_];
}

Task<Result<void>> NetworkCard::send(std::span<const u8> frame, Offload how) {
    if (frame.size() < 14 || frame.size() > (wishes_.offloads ? longest_large_frame : longest_frame))
        co_return Err::Inval;
    if (connected_ && !can_send(frame.size(), how))
        co_return Err::OpNotSupp;
    while (connected_ && !queue_for(frame).has_room(NetQueue::pieces(frame.size())))
        co_await room_.wait();
    if (!connected_)
        co_return Err::NoDev;
    NetQueue& queue = queue_for(frame);
    queue.send(frame, how);
    queue.push();
    co_return Result<void>();
}

Task<Result<usize>> NetworkCard::receive(std::span<u8> to) {
    Offload how;
    co_return co_await receive(to, how);
}

Task<Result<usize>> NetworkCard::receive(std::span<u8> to, Offload& how) {
    while (connected_) {
        for (u32 tries = 0; tries < queue_count_; ++tries) {
            NetQueue& queue = queues_[next_queue_++ % queue_count_];
            if (queue.frames() == 0)
                continue;
            const usize length = queue.receive(to, how);
            queue.push();
            co_return length;
        }
        co_await there_.wait();
    }
    co_return Err::NoDev;
}

u64 NetworkCard::dropped() const {
    u64 all = 0;
    for (const auto& queue : queues_)
        all += queue.dropped();
    return all;
}

} // namespace domus::guest
