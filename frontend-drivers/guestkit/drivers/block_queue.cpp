// See block_queue.hpp.
#include "frontend-drivers/guestkit/drivers/block_queue.hpp"

namespace domus::guest {

namespace {

// How much of the data at `memory` lies in its first page.
usize piece_of(const u8* memory, usize bytes) {
    const usize room = page_size - (reinterpret_cast<u64>(memory) & page_mask);
    return bytes < room ? bytes : room;
}

} // namespace

Result<void> BlockQueue::open(u16 backend, u32 ring_pages) {
    backend_ = backend;
    TRY(pages_.lend(kit_, ring_pages, backend));
    ring = {pages_.at(0), ring_pages * page_size};
    port_ = TRY(kit_.platform.open_port(backend, event));
    return {};
}

Result<void> BlockQueue::keep(u32 pages) {
    return kept_.lend(kit_, pages, backend_);
}

void BlockQueue::close() {
    if (port_ != 0)
        kit_.platform.close_port(std::exchange(port_, 0));
    keep_none();
    (void)pages_.take_back(kit_);
    ring = {};
}

// A piece of the request's data, which lies in one page: that page, or one that stays lent with the piece at the same
// place. Those are lent for writing always, as the protocol says.
Result<u32> BlockQueue::lend(BlockRequest& request, const u8* memory, usize bytes) {
    if (!kept_.any())
        return kit_.grants.lend(backend_, memory, request.operation == BLKIF_OP_READ ? Lend::Writable : Lend::ReadOnly);
    const u32 page = TRY(kept_.take(request.kept));
    if (request.operation == BLKIF_OP_WRITE)
        std::memcpy(kept_.at(page) + (reinterpret_cast<u64>(memory) & page_mask), memory, bytes);
    return kept_.reference(page);
}

// Lends the page that the next piece of the request's part is in, and describes it.
Result<void> BlockQueue::lend_piece(BlockRequest& request, blkif_request_segment& segment) {
    const u8* memory = request.memory + request.part;
    const usize offset = reinterpret_cast<u64>(memory) & page_mask;
    const usize piece = piece_of(memory, request.bytes - request.part);
    segment.gref = TRY(lend(request, memory, piece));
    segment.first_sect = static_cast<u8>(offset / block_sector);
    segment.last_sect = static_cast<u8>((offset + piece) / block_sector - 1);
    request.part += piece;
    ++request.segments;
    return {};
}

// As many as one message carries, or as there are pages and grants for: at least one.
Result<void> BlockQueue::lend_pieces(BlockRequest& request, blkif_request_segment* segments, u32 most) {
    while (request.part < request.bytes && request.segments < most) {
        const auto lent = lend_piece(request, segments[request.segments]);
        if (!lent && request.segments == 0)
            return lent.error();
        if (!lent)
            break;
    }
    return {};
}

Result<void> BlockQueue::put_direct(BlockRequest& request, u16 handle) {
    blkif_request_t message{};
    message.operation = request.operation;
    message.handle = handle;
    message.id = request.id;
    message.sector_number = request.sector;
    TRY(lend_pieces(request, message.seg, BLKIF_MAX_SEGMENTS_PER_REQUEST));
    for (u32 i = 0; i < request.segments; ++i)
        request.references[i] = message.seg[i].gref;
    message.nr_segments = static_cast<u8>(request.segments);
    ring.put(message);
    return {};
}

Result<void> BlockQueue::lend_descriptors(BlockRequest& request) {
    if (kept_.any()) {
        const u32 kept = TRY(kept_.take(request.kept_descriptors));
        request.descriptors = kept_.at(kept);
        request.descriptors_reference = kept_.reference(kept);
        return {};
    }
    u8* page = TRY(kit_.platform.take_pages());
    const auto lent = kit_.grants.lend(backend_, page, Lend::ReadOnly);
    if (!lent) {
        kit_.platform.give_page(page);
        return lent.error();
    }
    request.descriptors = page;
    request.descriptors_reference = lent.value();
    return {};
}

Result<void> BlockQueue::put_indirect(BlockRequest& request, u16 handle, u32 most_segments) {
    TRY(lend_descriptors(request));
    auto* segments = reinterpret_cast<blkif_request_segment*>(request.descriptors);
    TRY(lend_pieces(request, segments, most_segments));
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

void BlockQueue::collect(BlockRequest& request) {
    if (request.operation != BLKIF_OP_READ)
        return;
    u8* to = const_cast<u8*>(request.memory); // what a read was given is to be written to
    usize left = request.part;
    kept_.each(request.kept, [&](const u8* page) {
        const usize piece = piece_of(to, left);
        std::memcpy(to, page + (reinterpret_cast<u64>(to) & page_mask), piece);
        to += piece;
        left -= piece;
    });
}

void BlockQueue::release(BlockRequest& request) {
    if (kept_.any()) {
        kept_.give(request.kept);
        kept_.give(request.kept_descriptors);
        request.descriptors = nullptr;
        request.segments = 0;
        return;
    }
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
