// A disk: the frontend of blkif (<xen/io/blkif.h>), with several queues, rings of several pages and indirect
// descriptors, as far as the backend takes them. Works with any blkback. Owner: the guest. No lock: one vcpu; any
// number of tasks may have requests under way, each waits for its own. A backend that goes and comes back, or another
// that comes in its place, is connected to anew, and what was under way is sent again: a write may be done twice, with
// the same data. Who waits sees nothing but the pause. Errors: Io (the medium), OpNotSupp, NoDev (unplugged, closed, or
// no backend takes us), Inval (beyond the disk, not whole sectors).
#pragma once

#include "frontend-drivers/guestkit/drivers/block_queue.hpp"
#include "frontend-drivers/guestkit/drivers/frontend.hpp"

#include <span>

namespace domus::guest {

// At most so much is asked for. Pages: a ring's, 2 to the power of ring_order. kept: pages of each queue that stay
// lent, where the backend keeps them mapped (persistent grants), which carry all its data then; 0: it is not asked to.
struct DiskLimits {
    u32 queues = 4, ring_order = 2, segments = 128, kept = 32;
};

class Disk {
public:
    // The disk's id in xenstore (Frontend::find(kit, "vbd")).
    Disk(Kit& kit, u32 id, DiskLimits limits = {});

    Task<Result<void>> connect();
    // Waits for requests under way, then gives the disk back.
    Task<Result<void>> close();

    u64 sectors() const { return sectors_; }         // of 512 bytes
    u32 sector_size() const { return sector_size_; } // the backend's: what reads and writes must be multiples of
    bool read_only() const { return read_only_; }
    // This connection's, and how often there was another.
    u32 queues() const { return queue_count_; }
    u32 requests() const { return queue_count_ * queues_[0].size(); }
    u32 segments() const { return segments_; }
    bool persistent() const { return persistent_; } // grants
    u32 reconnects() const { return reconnects_; }

    // Whole sectors to and from memory of the guest (a static object, pages of the platform), aligned to 512 bytes.
    Task<Result<void>> read(u64 sector, std::span<u8> to);
    Task<Result<void>> write(u64 sector, std::span<const u8> from);
    // Returns when all that was written is on the medium. A backend without a cache needs none: then it does nothing.
    Task<Result<void>> flush();

private:
    Task<Result<void>> transfer(u8 operation, u64 sector, const u8* memory, usize bytes);
    Task<Result<void>> request(u8 operation, u64 sector, const u8* memory, usize bytes);
    Task<Result<void>> establish();
    Task<Result<void>> publish();
    void keep_pages();
    void keep_none();
    Task<Result<void>> publish_queue(u32 number);
    Task<bool> reconnect();
    Task<void> look_after();
    Task<void> take_answers(BlockQueue& queue, u64 connection);
    bool take(BlockQueue& queue);
    void send_waiting();
    void end_serving();
    void disconnect();
    void end_all(Err why);
    bool idle() const { return waiting_.alone() && sent_.alone(); }

    Frontend front_;
    Kit& kit_;
    const DiskLimits limits_;
    BlockQueue queues_[block_most_queues];
    u32 queue_count_ = 0, ring_pages_ = 1, segments_ = 0, next_queue_ = 0;
    Link waiting_, sent_; // BlockRequests, oldest first
    Event idle_;          // one of these may have changed: the lists, up_, alive_, running_
    u64 last_id_ = 0, connection_ = 0, sectors_ = 0;
    u32 sector_size_ = 512, reconnects_ = 0, running_ = 0; // running_: tasks of ours
    bool up_ = false;                                      // requests may be sent
    bool alive_ = false;                                   // look_after() runs: there is or will be a connection
    bool read_only_ = false, flushes_ = false;
    bool persistent_ = false; // the queues' pages stay lent
};

} // namespace domus::guest
