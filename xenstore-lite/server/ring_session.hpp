// One guest's connection over its ring. Owner: Daemon. Lock: none, one thread.
// Our positions in the two streams are kept here and in the journal, never taken from the page while we run.
// Order, which is what makes kill -9 harmless (docs/xenstore.md): take() copies bytes out and answers them in memory;
// the daemon journals; only then flush() moves req_cons and lets the guest see replies.
#pragma once

#include <memory>
#include <string>

#include "xenstore-lite/server/outbox.hpp"
#include "xenstore-lite/server/platform.hpp"
#include "xenstore-lite/server/ring.hpp"
#include "xenstore-lite/tree/store.hpp"

namespace domus::xenstore::server {

/// What the journal knows of a ring: positions in the streams and the bytes between ring and request.
struct RingMemory {
    std::uint32_t consumed = 0; ///< request stream: everything before is in `partial` or answered
    std::string partial;        ///< bytes of requests taken from the ring and not answered yet
    std::uint32_t produced = 0; ///< reply stream: position of the first byte of `replies`
    std::string replies;        ///< bytes produced from there on, whether the guest has them or not

    /// Takes in one record of this ring (ring, input, output).
    void apply(const tree::Record& record);
};

class RingSession {
public:
    /// A new connection goes on where the page's indices stand.
    RingSession(tree::Store& store, Platform& platform, std::uint16_t domid, std::unique_ptr<RingPage> page, Port port);
    /// After a restart: from what the journal says, and what of the replies the page shows as published.
    RingSession(tree::Store& store, Platform& platform, std::uint16_t domid, std::unique_ptr<RingPage> page, Port port,
                const RingMemory& memory);
    ~RingSession();
    RingSession(const RingSession&) = delete;
    RingSession& operator=(const RingSession&) = delete;

    /// Answers requests that wait in the ring, a bounded number. True if it has taken more than it answered.
    bool take();

    /// After journalling: gives room back, shows replies, tells the guest. True if the guest's fetching has ended a
    /// congestion, so that what was held back may go on.
    bool flush();

    /// To be asked after flush(): requests came in while their predecessors were not given back, so no event tells of
    /// them.
    bool has_input() const;

    /// Queues a reply or event; the bytes to be journalled (none if it was a repetition).
    std::string deliver(const wire::Message& message);

    bool congested() const { return outbox_.size() > limit(); }
    Port port() const { return port_; }
    /// For a compact journal: ring, input and output records.
    std::vector<tree::Record> snapshot() const;
    /// The record of the positions a connection starts with.
    tree::Record ring_record() const;
    /// Set by take(): positions moved since the last call.
    std::optional<tree::Record> input_record();

private:
    void fail(std::uint32_t error, const char* why);
    bool handle_messages();
    bool publish_replies();
    void reconnect();
    std::size_t limit() const;

    tree::Store& store_;
    Platform& platform_;
    std::uint16_t domid_;
    std::unique_ptr<RingPage> page_;
    Ring ring_;
    Port port_;
    std::uint32_t consumed_ = 0;
    std::uint32_t produced_ = 0; // published replies; the outbox goes on from here
    wire::Decoder decoder_;
    Outbox outbox_;
    bool input_moved_ = false;
    bool broken_ = false;
    bool reconnecting_ = false;    // the page is to be reset by the next flush()
    bool positions_reset_ = false; // the journal is to be told by the next input_record()
    bool was_congested_ = false;
    bool announce_ = true; // tell the guest even if nothing moved: it may have waited for us to come up
};

} // namespace domus::xenstore::server
