// The loop of every queue: take requests as long as there are some and the worker has room, then sleep without losing a
// wake-up. Header-only. Owner: the queue's coroutine, which keeps ring, port and worker alive. No lock: one io_context.
#pragma once

#include <concepts>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "backend-drivers/common/port.hpp"
#include "backend-drivers/common/ring.hpp"
#include "backend-drivers/common/signal.hpp"

namespace domus::backend {

/// What a queue does with its requests. accept() takes the ring's next request (copying it once); it must consume it.
/// end_batch() is called when no more can be taken for now: submit what was collected, publish what is answered.
template <class Worker, class Ring>
concept RingWorker = requires(Worker worker, Ring ring) {
    { worker.room() } -> std::same_as<bool>;     ///< false: in-flight limit reached
    { worker.freed() } -> std::same_as<Signal&>; ///< notified when there is room again
    worker.accept(ring);
    worker.end_batch(ring);
};

/// Requests of one guest before others of this io_context have their turn.
inline constexpr unsigned requests_per_turn = 256;

/// Serves until the port is closed (throws operation_aborted; who closes it notifies freed() too) or the frontend
/// breaks the protocol (RingError).
template <class Ring, class Worker>
requires RingWorker<Worker, Ring> boost::asio::awaitable<void> serve_ring(Ring& ring, Port& port, Worker& worker) {
    const auto executor = co_await boost::asio::this_coro::executor;
    for (;;) {
        if (!port) { // closed while this coroutine had no wait on it
            throw boost::system::system_error(boost::asio::error::operation_aborted, "the queue was closed");
        }
        unsigned taken = 0;
        for (; taken < requests_per_turn && worker.room() && ring.waiting() != 0; ++taken) {
            worker.accept(ring);
        }
        worker.end_batch(ring);
        if (taken == requests_per_turn) {
            co_await boost::asio::post(executor, boost::asio::use_awaitable);
        } else if (!worker.room()) {
            co_await worker.freed().wait(); // nothing ran between the look and the wait: no wake-up is lost
        } else if (!ring.arm()) {
            co_await port.wait();
        }
    }
}

} // namespace domus::backend
