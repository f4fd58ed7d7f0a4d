// See block.hpp.
#include "frontend-drivers/guestkit/drivers/block.hpp"

#include <algorithm>
#include <bit>

namespace domus::guest {
namespace {
constexpr u32 vdisk_readonly = 4; // VDISK_READONLY of the backend's node "info"
constexpr u32 most_refusals = 10; // of backends that come and do not take us, one after the other
} // namespace

Disk::Disk(Kit& kit, u32 id, DiskLimits limits)
    : front_(kit, "vbd", id),
      kit_(kit), limits_{std::min(limits.queues, block_most_queues), std::min(limits.ring_order, block_most_ring_order),
                         std::min(limits.segments, block_most_segments), std::min(limits.kept, KeptPages::most)},
      queues_{BlockQueue(kit), BlockQueue(kit), BlockQueue(kit), BlockQueue(kit)}, idle_(kit.platform.tasks) {}

Task<Result<void>> Disk::connect() {
    const auto established = co_await establish();
    if (!established) {
        (void)co_await front_.close();
        disconnect();
        co_return established;
    }
    alive_ = true;
    kit_.platform.tasks.start(look_after());
    co_return Result<void>();
}

Task<Result<void>> Disk::close() {
    while (alive_ && (!idle() || !up_))
        co_await idle_.wait();
    const bool lost = !std::exchange(alive_, false);
    end_serving();
    Result<void> closed = Err::NoDev;
    if (!lost)
        closed = co_await front_.close();
    while (running_ != 0) // look_after() ends when it sees that the backend has followed
        co_await idle_.wait();
    disconnect();
    co_return closed;
}

Task<Result<void>> Disk::publish_queue(u32 number) {
    const BlockQueue& queue = queues_[number];
    const Text<> folder = queue_count_ > 1 ? Text<>("queue-", u64{number}, "/") : Text<>("");
    for (u32 i = 0; i < ring_pages_; ++i) {
        const Text<> name = ring_pages_ > 1 ? Text<>(folder, "ring-ref", u64{i}) : Text<>(folder, "ring-ref");
        CO_CHECK(co_await front_.write(name, queue.reference(i)));
    }
    const Text<> name(folder, "event-channel");
    co_return co_await front_.write(name, queue.port());
}

Task<Result<void>> Disk::publish() {
    CO_CHECK(co_await front_.write("protocol", std::string_view("x86_64-abi")));
    // The nodes stand from one connection to the next: what this one does without says so.
    CO_CHECK(co_await front_.write("multi-queue-num-queues", queue_count_));
    CO_CHECK(co_await front_.write("feature-persistent", static_cast<u64>(persistent_)));
    if (ring_pages_ > 1)
        CO_CHECK(co_await front_.write("ring-page-order", static_cast<u64>(std::countr_zero(ring_pages_))));
    else
        CO_CHECK(co_await front_.remove("ring-page-order"));
    for (u32 i = 0; i < queue_count_; ++i)
        CO_CHECK(co_await publish_queue(i));
    co_return Result<void>();
}

// A guest that is short of pages or grants does without.
void Disk::keep_pages() {
    persistent_ = limits_.kept != 0;
    for (u32 i = 0; i < queue_count_ && persistent_; ++i)
        persistent_ = bool(queues_[i].keep(limits_.kept));
    if (!persistent_)
        keep_none();
}

void Disk::keep_none() {
    persistent_ = false;
    for (auto& queue : queues_)
        queue.keep_none();
}

// From whatever the two sides say of each other to a connection on which requests may be sent.
Task<Result<void>> Disk::establish() {
    CO_CHECK(co_await front_.begin());
    const u64 order = co_await front_.backend_number("max-ring-page-order", 0);
    const u64 queues = co_await front_.backend_number("multi-queue-max-queues", 1);
    const u64 segments = co_await front_.backend_number("feature-max-indirect-segments", 0);
    ring_pages_ = 1U << std::min<u64>(order, limits_.ring_order);
    const u32 count = static_cast<u32>(std::clamp<u64>(queues, 1, limits_.queues));
    segments_ =
        static_cast<u32>(std::max<u64>(std::min<u64>(segments, limits_.segments), BLKIF_MAX_SEGMENTS_PER_REQUEST));
    for (queue_count_ = 0; queue_count_ < count;)
        CO_CHECK(queues_[queue_count_++].open(front_.backend(), ring_pages_));
    keep_pages();
    CO_CHECK(co_await publish());
    CO_CHECK(co_await front_.finish());
    const u64 persistent = co_await front_.backend_number("feature-persistent", 0); // blkback says it only now
    if (persistent != 1)
        keep_none();
    CO_LET(sectors, co_await front_.backend_number("sectors"));
    sectors_ = sectors;
    sector_size_ = static_cast<u32>(co_await front_.backend_number("sector-size", block_sector));
    read_only_ = co_await front_.backend_number("info", 0) & vdisk_readonly;
    flushes_ = co_await front_.backend_number("feature-flush-cache", 0) == 1;
    up_ = true;
    for (u32 i = 0; i < queue_count_; ++i)
        kit_.platform.tasks.start(take_answers(queues_[i], connection_));
    send_waiting();
    co_return Result<void>();
}

void Disk::end_serving() {
    up_ = false;
    ++connection_;
    for (auto& queue : queues_)
        queue.event.notify(); // ends take_answers()
}

// What was under way waits again, in front of what came after it.
void Disk::disconnect() {
    end_serving();
    Link& first = *waiting_.next;
    while (!sent_.alone()) {
        auto& request = static_cast<BlockRequest&>(*sent_.next);
        request.queue->release(request);
        request.join_before(first);
    }
    for (auto& queue : queues_)
        queue.close();
}

Task<bool> Disk::reconnect() {
    for (u32 refusals = 0; refusals < most_refusals; ++refusals) {
        const u64 online = co_await front_.backend_number("online", 0);
        const auto closed = co_await front_.close();
        disconnect(); // what the backend had is ours again only now
        if (online == 0 || !closed)
            break;
        const auto established = co_await establish();
        if (established) {
            ++reconnects_;
            co_return true;
        }
    }
    co_return false;
}

// For as long as the disk is connected: a backend that leaves is followed by another, or nothing can be done any more.
Task<void> Disk::look_after() {
    ++running_;
    while (alive_) {
        co_await front_.gone();
        if (!alive_)
            break; // close() or give_up() does the rest
        end_serving();
        const bool again = co_await reconnect();
        if (!again) {
            disconnect();
            end_all(Err::NoDev);
        }
        idle_.notify(); // up, or not alive
    }
    --running_;
    idle_.notify();
}

void Disk::end_all(Err why) {
    alive_ = up_ = false;
    for (Link* list : {&sent_, &waiting_}) {
        while (!list->alone()) {
            auto& request = static_cast<BlockRequest&>(*list->next);
            if (list == &sent_)
                request.queue->release(request);
            request.end(why);
        }
    }
    idle_.notify();
}

Task<void> Disk::take_answers(BlockQueue& queue, u64 connection) {
    ++running_;
    while (connection == connection_) {
        if (!take(queue)) { // the backend can no longer be believed
            kit_.platform.say("disk: the backend broke the protocol\n");
            end_all(Err::Io);
            end_serving();
            (void)co_await front_.close();
            break;
        }
        send_waiting();
        if (idle())
            idle_.notify();
        if (!queue.ring.arm())
            co_await queue.event.wait();
    }
    --running_;
    idle_.notify();
}

// False: an answer to nothing.
bool Disk::take(BlockQueue& queue) {
    while (const auto answer = queue.ring.take()) {
        Link* at = sent_.next;
        while (at != &sent_ && static_cast<BlockRequest*>(at)->id != answer->id)
            at = at->next;
        auto& request = static_cast<BlockRequest&>(*at);
        if (at == &sent_ || request.queue != &queue)
            return false;
        if (answer->status == BLKIF_RSP_OKAY)
            queue.collect(request);
        queue.release(request);
        if (answer->status != BLKIF_RSP_OKAY) {
            request.end(answer->status == BLKIF_RSP_EOPNOTSUPP ? Err::OpNotSupp : Err::Io);
        } else if (request.part == request.bytes) {
            request.end(Err{});
        } else {
            request.memory += request.part;
            request.sector += request.part / block_sector;
            request.bytes -= request.part;
            request.join_before(*waiting_.next);
        }
    }
    return !queue.ring.broken();
}

void Disk::send_waiting() {
    bool filled[block_most_queues] = {};
    while (up_ && !waiting_.alone()) {
        auto& request = static_cast<BlockRequest&>(*waiting_.next);
        request.id = ++last_id_;
        Result<void> put = Err::NoSpace;
        for (u32 tries = 0; tries < queue_count_ && !put; ++tries) {
            const u32 at = next_queue_++ % queue_count_;
            put = queues_[at].put(request, static_cast<u16>(front_.id()), segments_);
            filled[at] |= bool(put);
        }
        if (put)
            request.join_before(sent_);
        else if (sent_.alone())
            request.end(put.error()); // nothing will come back that it could wait for
        else
            break;
    }
    for (u32 i = 0; i < queue_count_; ++i)
        if (filled[i])
            queues_[i].push();
}

Task<Result<void>> Disk::request(u8 operation, u64 sector, const u8* memory, usize bytes) {
    if (!alive_)
        co_return Err::NoDev;
    BlockRequest request(kit_.platform.tasks);
    request.operation = operation;
    request.sector = sector;
    request.memory = memory;
    request.bytes = bytes;
    request.join_before(waiting_);
    send_waiting();
    while (!request.ended)
        co_await request.done.wait();
    co_return Result<void>(request.error);
}

Task<Result<void>> Disk::transfer(u8 operation, u64 sector, const u8* memory, usize bytes) {
    if (bytes % sector_size_ != 0 || reinterpret_cast<u64>(memory) % block_sector != 0 || sector > sectors_ ||
        bytes / block_sector > sectors_ - sector)
        co_return Err::Inval;
    if (operation == BLKIF_OP_WRITE && read_only_)
        co_return Err::RoFs;
    if (bytes == 0)
        co_return Result<void>();
    co_return co_await request(operation, sector, memory, bytes);
}

Task<Result<void>> Disk::read(u64 sector, std::span<u8> to) {
    return transfer(BLKIF_OP_READ, sector, to.data(), to.size());
}
Task<Result<void>> Disk::write(u64 sector, std::span<const u8> from) {
    return transfer(BLKIF_OP_WRITE, sector, from.data(), from.size());
}
Task<Result<void>> Disk::flush() {
    if (!flushes_)
        return []() -> Task<Result<void>> { co_return Result<void>(); }();
    return request(BLKIF_OP_FLUSH_DISKCACHE, 0, nullptr, 0);
}

} // namespace domus::guest
