// Requests as a guest may write them: limits of every field.
#include <gtest/gtest.h>

#include <cstring>

#include "backend-drivers/block/request.hpp"

namespace domus::block {
namespace {

constexpr Medium medium{64 * sector_size, false, true};

blkif_request_t read_of(std::uint64_t sector, std::uint8_t first, std::uint8_t last) {
    blkif_request_t slot{};
    slot.operation = BLKIF_OP_READ;
    slot.nr_segments = 1;
    slot.sector_number = sector;
    slot.seg[0] = {9, first, last};
    return slot;
}

std::int16_t judge(const blkif_request_t& slot, const Medium& of = medium) {
    Request request;
    const auto status = parse(slot, request);
    return status == BLKIF_RSP_OKAY ? check(request, of) : status;
}

TEST(BlockRequest, SegmentsAreWithinTheirPages) {
    EXPECT_EQ(judge(read_of(0, 0, 7)), BLKIF_RSP_OKAY);
    EXPECT_EQ(judge(read_of(0, 7, 7)), BLKIF_RSP_OKAY);
    EXPECT_EQ(judge(read_of(0, 0, 8)), BLKIF_RSP_ERROR);
    EXPECT_EQ(judge(read_of(0, 5, 4)), BLKIF_RSP_ERROR);
    EXPECT_EQ(judge(read_of(0, 255, 255)), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, DataIsWithinTheMedium) {
    EXPECT_EQ(judge(read_of(56, 0, 7)), BLKIF_RSP_OKAY);
    EXPECT_EQ(judge(read_of(57, 0, 7)), BLKIF_RSP_ERROR);
    EXPECT_EQ(judge(read_of(64, 0, 0)), BLKIF_RSP_ERROR);
    for (const std::uint64_t sector : {UINT64_MAX, UINT64_MAX / 512, UINT64_MAX / 512 + 1, UINT64_MAX - 6}) {
        EXPECT_EQ(judge(read_of(sector, 0, 7)), BLKIF_RSP_ERROR) << sector;
    }
}

TEST(BlockRequest, NumbersOfSegments) {
    auto slot = read_of(0, 0, 0);
    for (const unsigned count : {0U, 12U, 255U}) {
        slot.nr_segments = static_cast<std::uint8_t>(count);
        EXPECT_EQ(judge(slot), BLKIF_RSP_ERROR) << count;
    }
    slot.nr_segments = 11;
    EXPECT_EQ(judge(slot), BLKIF_RSP_OKAY);
    slot.operation = BLKIF_OP_FLUSH_DISKCACHE;
    EXPECT_EQ(judge(slot), BLKIF_RSP_ERROR) << "a flush has no data";
    slot.operation = BLKIF_OP_WRITE_BARRIER;
    EXPECT_EQ(judge(slot), BLKIF_RSP_OKAY);
    slot.nr_segments = 0;
    EXPECT_EQ(judge(slot), BLKIF_RSP_OKAY) << "a barrier need have none";
    slot.nr_segments = 12;
    EXPECT_EQ(judge(slot), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, UnknownOperationsAreNotSupported) {
    auto slot = read_of(0, 0, 0);
    for (const unsigned operation : {4U, 7U, 255U}) {
        slot.operation = static_cast<std::uint8_t>(operation);
        EXPECT_EQ(judge(slot), BLKIF_RSP_EOPNOTSUPP) << operation;
    }
}

TEST(BlockRequest, Discards) {
    blkif_request_discard_t discard{};
    discard.operation = BLKIF_OP_DISCARD;
    const auto answer = [&](const Medium& of = medium) {
        blkif_request_t slot{};
        std::memcpy(&slot, &discard, sizeof discard);
        return judge(slot, of);
    };
    EXPECT_EQ(answer(), BLKIF_RSP_ERROR) << "nothing";
    discard.nr_sectors = 64;
    EXPECT_EQ(answer(), BLKIF_RSP_OKAY);
    EXPECT_EQ(answer({medium.bytes, true, true}), BLKIF_RSP_ERROR);
    EXPECT_EQ(answer({medium.bytes, false, false}), BLKIF_RSP_EOPNOTSUPP);
    discard.sector_number = 1;
    EXPECT_EQ(answer(), BLKIF_RSP_ERROR);
    discard.nr_sectors = UINT64_MAX;
    EXPECT_EQ(answer(), BLKIF_RSP_ERROR);
    discard.nr_sectors = 1;
    discard.flag = BLKIF_DISCARD_SECURE;
    EXPECT_EQ(answer(), BLKIF_RSP_EOPNOTSUPP);
}

TEST(BlockRequest, IndirectSegmentsAreCounted) {
    Request request;
    const std::vector<blkif_request_segment> many(most_segments + 1, {1, 0, 0});
    EXPECT_EQ(add_segments(std::span(many).first(most_segments), request), BLKIF_RSP_OKAY);
    EXPECT_EQ(request.length, most_segments * sector_size);
    EXPECT_EQ(add_segments(std::span(many).first(1), request), BLKIF_RSP_ERROR);
}

} // namespace
} // namespace domus::block
