// The loop of a queue: nothing is lost between looking and sleeping, limits hold, an end is an end.
#include "backend-drivers/common/ring_server.hpp"

#include "toy.hpp"

namespace domus::backend::test {
namespace {

struct Message {
    std::uint64_t value;
};
using Ring = BackRing<Message, Message>;

/// Answers at once, or holds up to `limit` requests until they are released.
struct Worker {
    explicit Worker(const asio::any_io_executor& executor) : freed_(executor) {}
    bool room() const { return held.size() < limit; }
    Signal& freed() { return freed_; }
    void accept(Ring& ring) {
        Message message;
        ring.take(message);
        seen.push_back(message.value);
        held.push_back(message);
    }
    void end_batch(Ring& ring) {
        if (!hold) {
            release(ring);
        }
    }
    void release(Ring& ring) {
        for (const auto& message : held) {
            ring.put(message);
        }
        held.clear();
        ring.publish();
        freed_.notify();
    }
    std::size_t limit = 1000;
    bool hold = false;
    std::vector<std::uint64_t> seen;
    std::vector<Message> held;
    Signal freed_;
};

struct RingServerTest : World {
    std::uint8_t* page = grants->page(1);
    Ring ring{page, 4096};
    Port port{access.events, 3, 5};
    Worker worker{io.get_executor()};
    std::uint32_t produced = 0;
    bool ended = false;

    void start() {
        asio::co_spawn(io, serve_ring(ring, port, worker), [this](std::exception_ptr thrown) {
            failure = thrown;
            ended = true;
        });
        settle();
    }
    std::uint32_t& index(unsigned which) { return reinterpret_cast<std::uint32_t*>(page)[which]; }
    void push(std::uint64_t value) {
        std::memcpy(page + 64 + produced % ring.size() * 8, &value, 8);
        index(0) = ++produced;
        if (index(1) == produced) { // req_event
            events->fire(port.number());
        }
    }
    ~RingServerTest() override {
        port.close();
        worker.freed().notify();
        until([&] { return ended; });
    }
};

TEST_F(RingServerTest, ServesWhatWasThereBeforeAndWhatComes) {
    push(1);
    push(2);
    start();
    EXPECT_EQ(worker.seen, (std::vector<std::uint64_t>{1, 2}));
    push(3);
    EXPECT_TRUE(until([&] { return worker.seen.size() == 3; }));
    EXPECT_EQ(index(2), 3u) << "rsp_prod";
}

TEST_F(RingServerTest, HoldsItsLimitAndGoesOnWhenThereIsRoom) {
    worker.limit = 2;
    worker.hold = true;
    for (int i = 0; i < 5; ++i) {
        push(i);
    }
    start();
    EXPECT_EQ(worker.seen.size(), 2u);
    worker.release(ring);
    settle();
    EXPECT_EQ(worker.seen.size(), 4u);
    worker.release(ring);
    EXPECT_TRUE(until([&] { return worker.seen.size() == 5; }));
}

TEST_F(RingServerTest, ThousandsInARowAreServed) {
    start();
    for (std::uint64_t i = 0; i < 3000; ++i) {
        push(i);
        if (i % 200 == 199) {
            ASSERT_TRUE(until([&] { return worker.seen.size() == i + 1; }));
        }
    }
}

TEST_F(RingServerTest, AWildProducerEndsIt) {
    start();
    index(0) = 100000;
    events->fire(port.number());
    ASSERT_TRUE(until([&] { return ended; }));
    EXPECT_THROW(std::rethrow_exception(failure), RingError);
}

TEST_F(RingServerTest, ClosingEndsItWhereverItWaits) {
    worker.limit = 0; // it waits for room, not for the port
    push(1);
    start();
    port.close();
    worker.freed().notify();
    ASSERT_TRUE(until([&] { return ended; }));
    EXPECT_THROW(std::rethrow_exception(failure), boost::system::system_error);
}

} // namespace
} // namespace domus::backend::test
