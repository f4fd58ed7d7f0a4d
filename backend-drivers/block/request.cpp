// See request.hpp.
#include "backend-drivers/block/request.hpp"

#include <cstring>

namespace domus::block {
namespace {

constexpr std::uint64_t most_sectors = UINT64_MAX / sector_size;

std::int16_t kind_of(std::uint8_t operation, std::uint8_t segments, Kind& kind) {
    switch (operation) {
    case BLKIF_OP_READ:
        kind = Kind::Read;
        return BLKIF_RSP_OKAY;
    case BLKIF_OP_WRITE:
        kind = Kind::Write;
        return BLKIF_RSP_OKAY;
    case BLKIF_OP_FLUSH_DISKCACHE:
        kind = Kind::Flush;
        return BLKIF_RSP_OKAY;
    case BLKIF_OP_WRITE_BARRIER: // may be empty
        kind = segments == 0 ? Kind::Flush : Kind::Write;
        return BLKIF_RSP_OKAY;
    default:
        return BLKIF_RSP_EOPNOTSUPP;
    }
}

std::int16_t place(std::uint64_t sector, Request& out) {
    if (sector > most_sectors) {
        return BLKIF_RSP_ERROR;
    }
    out.offset = sector * sector_size;
    return BLKIF_RSP_OKAY;
}

std::int16_t parse_indirect(const blkif_request_indirect_t& slot, Request& out) {
    out.id = slot.id;
    const bool known = slot.indirect_op == BLKIF_OP_READ || slot.indirect_op == BLKIF_OP_WRITE;
    if (!known || slot.nr_segments == 0 || slot.nr_segments > most_segments) {
        return BLKIF_RSP_ERROR;
    }
    out.operation = slot.indirect_op; // frontends look for this in the response, not for BLKIF_OP_INDIRECT
    out.kind = slot.indirect_op == BLKIF_OP_READ ? Kind::Read : Kind::Write;
    out.indirect_count = slot.nr_segments;
    out.indirect_reference = slot.indirect_grefs[0];
    return place(slot.sector_number, out);
}

std::int16_t parse_discard(const blkif_request_discard_t& slot, Request& out) {
    out.id = slot.id;
    out.kind = Kind::Discard;
    if ((slot.flag & BLKIF_DISCARD_SECURE) != 0) {
        return BLKIF_RSP_EOPNOTSUPP;
    }
    if (slot.nr_sectors == 0 || slot.nr_sectors > most_sectors) {
        return BLKIF_RSP_ERROR;
    }
    out.length = slot.nr_sectors * sector_size;
    return place(slot.sector_number, out);
}

template <class To>
To as(const blkif_request_t& slot) {
    static_assert(sizeof(To) <= sizeof slot);
    To to;
    std::memcpy(&to, &slot, sizeof to);
    return to;
}

} // namespace

std::int16_t parse(const blkif_request_t& slot, Request& out) {
    out.operation = slot.operation;
    out.offset = out.length = 0;
    out.indirect_count = out.segment_count = 0;
    out.barrier = slot.operation == BLKIF_OP_WRITE_BARRIER;
    if (slot.operation == BLKIF_OP_INDIRECT) {
        return parse_indirect(as<blkif_request_indirect_t>(slot), out);
    }
    if (slot.operation == BLKIF_OP_DISCARD) {
        return parse_discard(as<blkif_request_discard_t>(slot), out);
    }
    out.id = slot.id;
    if (const auto status = kind_of(slot.operation, slot.nr_segments, out.kind); status != BLKIF_RSP_OKAY) {
        return status;
    }
    const bool empty = slot.nr_segments == 0;
    if (slot.nr_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST || empty != (out.kind == Kind::Flush)) {
        return BLKIF_RSP_ERROR;
    }
    if (empty) {
        return BLKIF_RSP_OKAY;
    }
    const auto status = place(slot.sector_number, out);
    return status == BLKIF_RSP_OKAY ? add_segments(std::span(slot.seg, slot.nr_segments), out) : status;
}

std::int16_t add_segments(std::span<const blkif_request_segment> segments, Request& request) {
    for (const auto& segment : segments) {
        if (segment.first_sect > segment.last_sect || segment.last_sect >= page_size / sector_size ||
            request.segment_count == most_segments) {
            return BLKIF_RSP_ERROR;
        }
        const auto sectors = static_cast<std::size_t>(segment.last_sect - segment.first_sect + 1);
        Segment& to = request.segments[request.segment_count++];
        to.reference = segment.gref;
        to.offset = static_cast<std::uint16_t>(segment.first_sect * sector_size);
        to.length = static_cast<std::uint16_t>(sectors * sector_size);
        request.length += to.length;
    }
    return BLKIF_RSP_OKAY;
}

std::int16_t check(const Request& request, const Medium& medium) {
    if (request.kind == Kind::Flush) {
        return BLKIF_RSP_OKAY;
    }
    if (request.kind == Kind::Discard && !medium.discard) {
        return BLKIF_RSP_EOPNOTSUPP;
    }
    const bool inside = request.length <= medium.bytes && request.offset <= medium.bytes - request.length;
    const bool writes = request.kind != Kind::Read;
    return inside && !(writes && medium.read_only) ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
}

} // namespace domus::block
