// Disk requests made of bytes, as a hostile guest writes them: slots and indirect segments through the same judgement
// as the queue's. Aborts when what was let through would reach beyond the medium, beyond a page, or beyond the buffers;
// the sanitizers see the rest. What the queue then does with the ring is in tests/unit/backend-drivers/block.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backend-drivers/block/request.hpp"
#include "backend-drivers/common/ring.hpp"
#include "tests/fuzz/backend-drivers/input.hpp"

namespace {
using namespace domus::block;

using domus::fuzz::demand;
using domus::fuzz::Input;

/// Mostly near to what is right, so that more than the first check is reached.
void tame(blkif_request_t& slot, std::uint8_t how) {
    if (how % 4 == 0) {
        return;
    }
    slot.operation %= 8;
    if (slot.operation == BLKIF_OP_INDIRECT) {
        blkif_request_indirect_t indirect{};
        std::memcpy(&indirect, &slot, sizeof indirect);
        indirect.indirect_op %= 3;
        indirect.nr_segments = static_cast<std::uint16_t>(indirect.nr_segments % (most_segments + 2));
        indirect.sector_number %= 5000;
        std::memcpy(&slot, &indirect, sizeof indirect);
        return;
    }
    slot.sector_number %= 5000;
    slot.nr_segments = static_cast<std::uint8_t>(slot.nr_segments % (BLKIF_MAX_SEGMENTS_PER_REQUEST + 2));
    for (auto& segment : slot.seg) {
        segment.first_sect %= 9;
        segment.last_sect %= 9;
    }
}

void holds(const Request& request, const Medium& medium) {
    if (request.kind == Kind::Flush) {
        return;
    }
    demand(request.offset <= medium.bytes && request.length <= medium.bytes - request.offset);
    demand(request.offset % sector_size == 0 && request.length % sector_size == 0);
    demand(!medium.read_only || request.kind == Kind::Read);
    demand(request.kind != Kind::Discard || medium.discard);
    if (request.kind == Kind::Discard) {
        return;
    }
    std::uint64_t sum = 0;
    demand(request.segment_count != 0 && request.segment_count <= most_segments);
    for (const auto& segment : std::span(request.segments.data(), request.segment_count)) {
        demand(segment.length != 0 && std::size_t{segment.offset} + segment.length <= page_size);
        sum += segment.length;
    }
    demand(sum == request.length);
}

void judge(const blkif_request_t& slot, Input& in, const Medium& medium) {
    Request request;
    std::int16_t status = parse(slot, request);
    if (status == BLKIF_RSP_OKAY && request.indirect_count != 0) {
        demand(request.indirect_count <= most_segments);
        std::array<blkif_request_segment, most_segments> list{};
        in.fill(list.data(), request.indirect_count * sizeof list[0]);
        const bool wild = in.byte() % 4 == 0;
        for (auto& segment : list) {
            segment.first_sect = wild ? segment.first_sect : segment.first_sect % 9;
            segment.last_sect = wild ? segment.last_sect : segment.last_sect % 9;
        }
        status = add_segments(std::span(list.data(), request.indirect_count), request);
    }
    if (status == BLKIF_RSP_OKAY && check(request, medium) == BLKIF_RSP_OKAY) {
        holds(request, medium);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    alignas(page_size) static std::uint8_t page[page_size];
    std::memset(page, 0, sizeof page);
    using Ring = domus::backend::BackRing<blkif_request_t, blkif_response_t>;
    Ring ring(page, sizeof page);
    std::uint32_t asked = 0;
    const std::uint8_t can = in.byte();
    const Medium medium{2048 * sector_size, (can & 1) != 0, (can & 2) != 0};
    try {
        while (in.left()) {
            for (unsigned i = in.byte() % ring.size(); i > 0; --i) {
                blkif_request_t slot;
                in.fill(&slot, sizeof slot);
                tame(slot, in.byte());
                std::memcpy(page + 64 + asked++ % ring.size() * sizeof slot, &slot, sizeof slot);
            }
            asked += in.byte() == 0 ? in.byte() * 8U : 0; // runs away now and then
            std::memcpy(page, &asked, sizeof asked);
            while (ring.waiting() != 0) {
                blkif_request_t slot;
                ring.take(slot);
                in.fill(page + 64, in.byte() % 64); // the guest goes on writing
                judge(slot, in, medium);
                ring.put({});
            }
            ring.publish();
            demand(ring.produced() == asked);
        }
    } catch (const domus::backend::RingError&) { // the device would be closed
    }
    return 0;
}
