// One queue of a disk: its ring, its port, and how a request is put there. Owner: Disk. No lock: one vcpu.
#pragma once

#include "frontend-drivers/guestkit/drivers/kept_pages.hpp"
#include "frontend-drivers/guestkit/drivers/lent_pages.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"

#include <xen/io/blkif.h>

namespace domus::guest {

constexpr u32 block_most_queues = 4, block_most_ring_order = 2;
constexpr usize block_sector = 512;
// Of an indirect request: what one page of descriptors holds.
constexpr u32 block_most_segments = page_size / sizeof(blkif_request_segment);

// What somebody waits for. It lives in that task's frame, and is in one of Disk's two lists until it has ended.
struct BlockRequest : Link {
    explicit BlockRequest(Scheduler& scheduler) : done(scheduler) {}
    u8 operation = 0;
    u64 sector = 0;
    const u8* memory = nullptr;
    usize bytes = 0; // still to be done: one message may carry less
    Event done;
    bool ended = false;
    Err error{}; // Err{}: it was done

    // The message under way.
    class BlockQueue* queue = nullptr;
    u64 id = 0;
    usize part = 0;
    u32 segments = 0;
    u32 references[BLKIF_MAX_SEGMENTS_PER_REQUEST] = {}; // of a direct message
    u8* descriptors = nullptr;                           // of an indirect one: a page, read-only for the backend
    u32 descriptors_reference = 0;
    KeptPages::List kept, kept_descriptors; // in place of these, with persistent grants

    void end(Err how) {
        leave();
        ended = true;
        error = how;
        done.notify();
    }
};

class BlockQueue {
public:
    explicit BlockQueue(Kit& kit) : event(kit.platform.tasks), kit_(kit) {}

    // A ring of so many pages, and a port, for this backend.
    Result<void> open(u16 backend, u32 ring_pages);
    // Lends so many pages that stay lent; from then on they carry the data of all requests. What was lent before an
    // error goes with keep_none().
    Result<void> keep(u32 pages);
    void keep_none() { (void)kept_.take_back(kit_); }
    void close();

    // Puts the request's next part, of at most so many segments, into the ring. NoSpace, NoMem: not now.
    Result<void> put(BlockRequest& request, u16 handle, u32 most_segments);
    // The message was answered well: what was read goes where it belongs.
    void collect(BlockRequest& request);
    // Takes back what a message had lent.
    void release(BlockRequest& request);
    void push();

    u32 size() const { return ring.size(); }
    u32 reference(u32 page) const { return pages_.reference(page); }
    u32 port() const { return port_; }

    FrontRing<blkif_request_t, blkif_response_t> ring;
    Event event;

private:
    Result<void> put_direct(BlockRequest& request, u16 handle);
    Result<void> put_indirect(BlockRequest& request, u16 handle, u32 most_segments);
    Result<void> lend_pieces(BlockRequest& request, blkif_request_segment* segments, u32 most);
    Result<void> lend_piece(BlockRequest& request, blkif_request_segment& segment);
    Result<u32> lend(BlockRequest& request, const u8* memory, usize bytes);
    Result<void> lend_descriptors(BlockRequest& request);

    Kit& kit_;
    u16 backend_ = 0;
    LentPages<1U << block_most_ring_order> pages_;
    KeptPages kept_;
    u32 port_ = 0;
};

} // namespace domus::guest
