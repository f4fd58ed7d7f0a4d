// See block_queue.hpp.
#include "frontend-drivers/guestkit/drivers/block_queue.hpp"

namespace domus::guest {

Result<void> BlockQueue::open(u16 backend, u32 ring_pages) {
    backend_ = backend;
    TRY(pages_.lend(kit_, ring_pages, backend));
    ring = {pages_.at(0), ring_pages * page_size};
    port_ = TRY(kit_.platform.open_port(backend, event));
    return {};
}

void BlockQueue::close() {
    if (port_ != 0)
        kit_.platform.close_port(std::exchange(port_, 0));
    (void)pages_.take_back(kit_);
    ring = {};
}

// Lends the page that the next piece of the request's part is in, and describes it.
Result<u32> BlockQueue::lend_piece(BlockRequest& request, blkif_request_segment& segment) {
    const u8* memory = request.memory + request.part;
    const usize offset = reinterpret_cast<u64>(memory) & page_mask, left = request.bytes - request.part;
    const usize piece = left < page_size - offset ? left : page_size - offset;
    segment.gref =
        TRY(kit_.grants.lend(backend_, memory, request.operation == BLKIF_OP_READ ? Lend::Writable : Lend::ReadOnly));
    segment.first_sect = static_cast<u8>(offset / block_sector);
    segment.last_sect = static_cast<u8>((offset + piece) / block_sector - 1);
    request.part += piece;
    ++request.segments;
    return segment.gref;
}

Result<void> BlockQueue::put_direct(BlockRequest& request, u16 handle) {
    blkif_request_t message{};
    message.operation = request.operation;
    message.handle = handle;
    message.id = request.id;
    message.sector_number = request.sector;
    while (request.part < request.bytes && request.segments < BLKIF_MAX_SEGMENTS_PER_REQUEST) {
        const u32 at = request.segments;
        request.references[at] = TRY(lend_piece(request, message.seg[at]));
    }
    message.nr_segments = static_cast<u8>(request.segments);
    ring.put(message);
    return {};
}

Result<void> BlockQueue::put_indirect(BlockRequest& request, u16 handle, u32 most_segments) {
    u8* page = TRY(kit_.platform.take_pages());
    const auto lent = kit_.grants.lend(backend_, page, Lend::ReadOnly);
    if (!lent) {
        kit_.platform.give_page(page);
        return lent.error();
    }
    request.descriptors = page;
    request.descriptors_reference = lent.value();
    auto* segments = reinterpret_cast<blkif_request_segment*>(request.descriptors);
    while (request.part < request.bytes && request.segments < most_segments)
        TRY(lend_piece(request, segments[request.segments]));
    blkif_request_indirect_t message{};
    message.operation = BLKIF_OP_INDIRECT;
    message.indirect_op = request.operation;
    message.handle = handle;
    message.id = request.id;
    message.sector_number = request.sector;
    message.nr_segments = static_cast<u16>(request.segments);
    message.indirect_grefs[0] = request.descriptors_reference;
    blkif_request_t slot{};
    static_assert(sizeof slot >= sizeof message);
    std::memcpy(&slot, &message, sizeof message);
    ring.put(slot);
    return {};
}

Result<void> BlockQueue::put(BlockRequest& request, u16 handle, u32 most_segments) {
    if (ring.full())
        return Err::NoSpace;
    request.part = 0;
    request.segments = 0;
    const usize offset = reinterpret_cast<u64>(request.memory) & page_mask;
    const usize pieces = (offset + request.bytes + page_size - 1) / page_size;
    const bool indirect = pieces > BLKIF_MAX_SEGMENTS_PER_REQUEST && most_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST;
    request.queue = this;
    if (indirect) {
        if (put_indirect(request, handle, most_segments))
            return {};
        release(request); // short of pages or grants: a part of it may go
        request.part = 0;
    }
    const auto done = put_direct(request, handle);
    if (!done)
        release(request);
    return done;
}

void BlockQueue::release(BlockRequest& request) {
    bool kept = false;
    const auto* segments = reinterpret_cast<const blkif_request_segment*>(request.descriptors);
    for (u32 i = 0; i < request.segments; ++i)
        kept |= !kit_.grants.take_back(segments != nullptr ? segments[i].gref : request.references[i]);
    if (request.descriptors != nullptr) {
        if (kit_.grants.take_back(request.descriptors_reference))
            kit_.platform.give_page(request.descriptors);
        else
            kept = true;
    }
    request.descriptors = nullptr;
    request.segments = 0;
    if (kept)
        kit_.platform.say("disk: the backend keeps a page of a request that it answered\n");
}

void BlockQueue::push() {
    if (ring.push())
        kit_.platform.notify(port_);
}

} // namespace domus::guest
