// Requests and replies of one ring. See ring_session.hpp.
#include "xenstore-lite/server/ring_session.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace domus::xenstore::server {

namespace {
constexpr int requests_per_turn = 32;         // then others have their turn
constexpr std::size_t privileged_factor = 64; // domain 0 may have that many times the backlog of a guest
} // namespace

void RingMemory::apply(const tree::Record& record) {
    using Kind = tree::Record::Kind;
    if (record.kind == Kind::ring) {
        *this = RingMemory{static_cast<std::uint32_t>(record.a), {}, static_cast<std::uint32_t>(record.b), {}};
    } else if (record.kind == Kind::input) {
        consumed = static_cast<std::uint32_t>(record.a);
        partial = record.text;
    } else if (record.kind == Kind::output) {
        replies += record.text;
    }
}

RingSession::RingSession(tree::Store& store, Platform& platform, std::uint16_t domid, std::unique_ptr<RingPage> page,
                         Port port)
    : store_(store), platform_(platform), domid_(domid), page_(std::move(page)), ring_(page_->ring()), port_(port),
      consumed_(ring_.consumed()), produced_(ring_.produced()) {
    ring_.offer_features();
}

RingSession::RingSession(tree::Store& store, Platform& platform, std::uint16_t domid, std::unique_ptr<RingPage> page,
                         Port port, const RingMemory& memory)
    : RingSession(store, platform, domid, std::move(page), port) {
    consumed_ = memory.consumed;
    decoder_.feed(memory.partial);
    const std::uint32_t published = produced_ - memory.produced;
    if (published > memory.replies.size()) {
        fail(XENSTORE_ERROR_RINGIDX, "its rsp_prod is not where we left it");
        return;
    }
    outbox_.append_raw(memory.replies.substr(published));
    was_congested_ = true; // events may be owed
}

RingSession::~RingSession() {
    platform_.unbind(port_);
}

std::size_t RingSession::limit() const {
    return store_.limits().outstanding_bytes * (domid_ == 0 ? privileged_factor : 1);
}

void RingSession::fail(std::uint32_t error, const char* why) {
    spdlog::warn("domain {}: xenstore ring closed: {}", domid_, why);
    broken_ = true;
    outbox_.clear();
    store_.reset(domid_);
    ring_.report_error(error);
}

void RingSession::reconnect() {
    store_.reset(domid_);
    decoder_ = wire::Decoder();
    outbox_.clear();
    consumed_ = produced_ = 0;
    input_moved_ = broken_ = false;
    reconnecting_ = positions_reset_ = true;
    announce_ = true;
}

bool RingSession::take() {
    if (ring_.wants_reconnect()) {
        if (!reconnecting_) {
            reconnect(); // flush() touches the page, once the journal knows
        }
        return false;
    }
    if (broken_ || congested() || store_.held(domid_)) {
        return false;
    }
    const auto available = ring_.available(consumed_);
    if (!available) {
        fail(XENSTORE_ERROR_RINGIDX, "its req_prod is out of range");
        return false;
    }
    if (decoder_.partial().size() < wire::header_size + wire::max_payload && *available > 0) {
        decoder_.feed(ring_.peek(consumed_, *available));
        consumed_ += *available;
        input_moved_ = true;
    }
    return handle_messages();
}

bool RingSession::handle_messages() {
    for (int count = 0; count < requests_per_turn; ++count) {
        if (congested() || store_.held(domid_)) {
            return false; // woken by the guest fetching, or by the end of the hold
        }
        const auto message = decoder_.next();
        if (!message) {
            if (decoder_.broken()) {
                fail(XENSTORE_ERROR_PROTO, "a request longer than the protocol allows");
            }
            return false; // what comes in from now on is seen after flush()
        }
        input_moved_ = true;
        store_.handle(domid_, *message);
    }
    return true;
}

std::string RingSession::deliver(const wire::Message& message) {
    return broken_ || reconnecting_ ? std::string() : outbox_.append(message);
}

bool RingSession::flush() {
    if (reconnecting_) {
        ring_.reconnect();
        reconnecting_ = false;
    }
    if (broken_) {
        if (std::exchange(announce_, false)) {
            platform_.notify(port_);
        }
        return false;
    }
    const bool congested_before = was_congested_ || congested();
    bool moved = std::exchange(announce_, false);
    if (ring_.consumed() != consumed_) {
        ring_.consume(consumed_);
        moved = true;
    }
    moved |= publish_replies();
    if (moved) {
        platform_.notify(port_);
    }
    was_congested_ = congested();
    return congested_before && !was_congested_;
}

bool RingSession::publish_replies() {
    for (bool moved = false;; moved = true) { // again, because the guest may have made room while we filled the rest
        const auto room = ring_.room(produced_);
        if (!room) {
            fail(XENSTORE_ERROR_RINGIDX, "its rsp_cons is out of range");
            return true;
        }
        const std::string bytes = outbox_.take(*room);
        if (bytes.empty()) {
            return moved;
        }
        ring_.put(produced_, bytes);
        produced_ += static_cast<std::uint32_t>(bytes.size());
        ring_.publish(produced_);
    }
}

bool RingSession::has_input() const {
    // An index that makes no sense is for take() to judge.
    return !broken_ && !congested() && !store_.held(domid_) && ring_.available(consumed_).value_or(1) > 0;
}

tree::Record RingSession::ring_record() const {
    return {tree::Record::Kind::ring, domid_, consumed_, produced_, {}, {}, {}};
}

std::optional<tree::Record> RingSession::input_record() {
    if (std::exchange(positions_reset_, false)) {
        return ring_record();
    }
    if (!std::exchange(input_moved_, false)) {
        return std::nullopt;
    }
    return tree::Record{tree::Record::Kind::input, domid_, consumed_, 0, {}, std::string(decoder_.partial()), {}};
}

std::vector<tree::Record> RingSession::snapshot() const {
    return {ring_record(),
            {tree::Record::Kind::input, domid_, consumed_, 0, {}, std::string(decoder_.partial()), {}},
            {tree::Record::Kind::output, domid_, 0, 0, {}, outbox_.peek_all(), {}}};
}

} // namespace domus::xenstore::server
