// A disk request as a guest wrote it (xen/io/blkif.h), judged. Pure: works on copies that nobody else can change.
// Owner: a queue's job. No lock. parse() takes a slot's copy, add_segments() the copy of an indirect request's page.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <xen/grant_table.h>
#include <xen/io/blkif.h>

namespace domus::block {

/// The protocol's unit, whatever the medium's sectors are.
inline constexpr std::size_t sector_size = 512;
inline constexpr std::size_t page_size = 4096;
/// Segments of an indirect request; their array fits into one page.
inline constexpr std::size_t most_segments = 64;

enum class Kind { Read, Write, Flush, Discard };

/// Part of a granted page.
struct Segment {
    std::uint32_t reference = 0;
    std::uint16_t offset = 0, length = 0;
};

struct Request {
    std::uint8_t operation = 0; ///< for the response; of an indirect request, what it does
    std::uint64_t id = 0;       ///< the guest's own
    Kind kind = Kind::Read;
    bool barrier = false;     ///< a write (without data: a flush) that all earlier ones precede, and no later one
    std::uint64_t offset = 0; ///< bytes
    std::uint64_t length = 0; ///< bytes: of the segments, or to discard
    std::uint32_t indirect_reference = 0;
    std::uint16_t indirect_count = 0; ///< segments still to be read from that page; 0: a direct request
    std::uint16_t segment_count = 0;
    std::array<Segment, most_segments> segments;
};

/// What requests are judged by.
struct Medium {
    std::uint64_t bytes = 0;
    bool read_only = false;
    bool discard = false;
};

/// All three return a BLKIF_RSP_*; anything but BLKIF_RSP_OKAY is the answer, and the request goes no further.
std::int16_t parse(const blkif_request_t& slot, Request& out);
std::int16_t add_segments(std::span<const blkif_request_segment> segments, Request& request);
/// When all segments are there: is it within the medium, and allowed?
std::int16_t check(const Request& request, const Medium& medium);

} // namespace domus::block
