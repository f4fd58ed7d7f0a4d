// Unpacking: every format gives back what went in, and nothing a damaged file claims is believed.
#include "tests/unit/hypervisor/boot/image/sample.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <lzma.h>
#include <random>

namespace domus::image::test {
namespace {

using ::testing::HasSubstr;

// Runs the three calls as a builder does. The message, or empty when it worked.
std::string unpack_all(const Buffer& file, Buffer& result) {
    const auto size = unpacked_size(file);
    if (!size)
        return size.error().message;
    const auto scratch_bytes = scratch_size(file);
    if (!scratch_bytes)
        return scratch_bytes.error().message;
    Buffer out(*size), scratch(*scratch_bytes);
    const auto elf = unpack(file, out, scratch);
    if (!elf)
        return elf.error().message;
    result.assign(elf->begin(), elf->end());
    return {};
}

// Half pattern, half noise, a run, over one lz4 block in length: literals, matches and overlaps of every kind.
Buffer mixed_data(std::size_t size) {
    std::mt19937 random(1);
    Buffer data(size);
    for (std::size_t i = 0; i < size; ++i) {
        const auto region = i / 4096 % 4;
        data[i] = static_cast<u8>(region == 0 ? random() : region == 1 ? i % 7 : region == 2 ? 0 : i % 300 * 3);
    }
    return data;
}

struct Packer {
    const char* name;
    Buffer (*pack)(Bytes);
    bool own_size;
};
const Packer packers[] = {
    {"xz_crc32", [](Bytes d) { return pack_xz(d, LZMA_CHECK_CRC32); }, false},
    {"xz_crc64", [](Bytes d) { return pack_xz(d, LZMA_CHECK_CRC64); }, false},
    {"zstd", pack_zstd, false},
    {"gzip", pack_gzip, true},
    {"lz4", pack_lz4_legacy, false},
};

class EveryFormat : public ::testing::TestWithParam<Packer> {
protected:
    Buffer wrap(const Buffer& data) const {
        const auto& packer = GetParam();
        return bzimage(packer.pack(data), packer.own_size ? std::nullopt : std::optional(u32(data.size())));
    }
};
INSTANTIATE_TEST_SUITE_P(Image, EveryFormat, ::testing::ValuesIn(packers),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(EveryFormat, GivesBackWhatWentIn) {
    for (const std::size_t size : {1u, 100u, 70000u, (8u << 20) + 12345u}) {
        const auto data = mixed_data(size);
        Buffer result;
        EXPECT_EQ(unpack_all(wrap(data), result), "");
        EXPECT_EQ(result, data) << size;
    }
}

TEST_P(EveryFormat, ParsesAfterUnpacking) {
    Buffer result;
    ASSERT_EQ(unpack_all(wrap(Sample().make()), result), "");
    const auto kernel = parse_elf(result);
    ASSERT_TRUE(kernel) << kernel.error().message;
    EXPECT_STREQ(kernel->guest_os.text, "sample");
}

TEST_P(EveryFormat, RefusesEveryTruncation) {
    const auto file = wrap(mixed_data(20000));
    for (std::size_t length = 0; length < file.size() - 100; length += 1 + length / 40) {
        Buffer result;
        EXPECT_NE(unpack_all(Buffer(file.begin(), file.begin() + length), result), "") << length;
    }
}

// A payload whose inner stream is cut although the header's length says it is whole.
TEST_P(EveryFormat, RefusesCutStream) {
    const auto data = mixed_data(20000);
    const auto packed = GetParam().pack(data);
    for (std::size_t length = 6; length < packed.size(); length += 97) {
        Buffer cut(packed.begin(), packed.begin() + length), result;
        EXPECT_NE(unpack_all(bzimage(cut, u32(data.size())), result), "") << length;
    }
}

TEST_P(EveryFormat, RefusesWrongSizeClaims) {
    const auto data = mixed_data(20000);
    auto packed = GetParam().pack(data);
    if (GetParam().own_size)
        packed.resize(packed.size() - 4);
    for (const u32 claim : {1u, 19999u, 20001u, 0u, 0xffffffffu, 513u << 20}) {
        Buffer result;
        EXPECT_NE(unpack_all(bzimage(packed, claim), result), "") << claim;
    }
}

TEST_P(EveryFormat, SurvivesFlippedBits) {
    const auto file = wrap(mixed_data(9000));
    std::mt19937 random(7);
    for (int round = 0; round < 400; ++round) {
        auto damaged = file;
        for (int flips = 0; flips < 3; ++flips)
            damaged[random() % damaged.size()] ^= static_cast<u8>(1 << random() % 8);
        std::memcpy(&damaged[0x1fe], &file[0x1fe], 10); // still a bzImage
        Buffer result;
        unpack_all(damaged, result); // an error or a result, never a crash (sanitizers)
    }
}

TEST_P(EveryFormat, SaysWhenRoomOrScratchIsMissing) {
    const auto data = mixed_data(5000);
    const auto file = wrap(data);
    Buffer small(4999), out(5000), scratch(*scratch_size(file));
    EXPECT_THAT(unpack(file, small, scratch).error().message, HasSubstr("there is room for 4999"));
    if (!scratch.empty()) {
        EXPECT_THAT(unpack(file, out, {}).error().message, HasSubstr("scratch memory"));
    }
}

TEST(Unpack, PlainElfIsHandedOverAsItIs) {
    const auto file = Sample().make();
    const auto elf = unpack(file, {}, {});
    ASSERT_TRUE(elf);
    EXPECT_EQ(elf->data(), file.data());
    EXPECT_EQ(*scratch_size(file), 0u);
}

TEST(Unpack, BareGzipIsAccepted) {
    const auto data = Sample().make();
    Buffer result;
    EXPECT_EQ(unpack_all(pack_gzip(data), result), "");
    EXPECT_EQ(result, data);
}

TEST(Unpack, ElfInsideBzImage) {
    const auto data = Sample().make();
    Buffer result;
    EXPECT_EQ(unpack_all(bzimage(data, std::nullopt), result), "");
    EXPECT_EQ(result, data);
}

std::string refusal(const Buffer& file) {
    Buffer result;
    return unpack_all(file, result);
}

TEST(Unpack, NamesWhatIsWrong) {
    EXPECT_THAT(refusal({}), HasSubstr("not a kernel"));
    EXPECT_THAT(refusal(Buffer(5000, u8{'x'})), HasSubstr("0x202"));
    EXPECT_THAT(refusal(bzimage(pack_zstd(Buffer(10)), 10, 0x207)), HasSubstr("boot protocol 0x207"));
    EXPECT_THAT(refusal(bzimage(Buffer(40, u8{'L'}), 40)), HasSubstr("no known format"));
    EXPECT_THAT(refusal(pack_zstd(Buffer(10))), HasSubstr("without a bzImage header"));
    auto far = bzimage(pack_zstd(Buffer(10)), 10);
    std::memset(&far[0x248], 0xff, 8);
    EXPECT_THAT(refusal(far), HasSubstr("cut short"));
}

TEST(Unpack, OldZstdFormatsAreRefused) {
    for (const u8 version : {0x25, 0x26, 0x27}) {
        auto packed = pack_zstd(Buffer(1000));
        packed[0] = version; // magic number of v0.5 to v0.7
        EXPECT_THAT(refusal(bzimage(packed, 1000)), HasSubstr("no known format"));
    }
}

TEST(Unpack, Lz4MatchBeforeStartIsRefused) {
    // token: 1 literal, match of 4; distance 2 with only one byte written
    const Buffer block = {0x02, 0x21, 0x4c, 0x18, 5, 0, 0, 0, 0x10, 'a', 2, 0, 0x00};
    EXPECT_THAT(refusal(bzimage(block, 6)), HasSubstr("lz4 block at offset"));
}

TEST(Unpack, Lz4EndlessLengthIsRefused) {
    Buffer block = {0x02, 0x21, 0x4c, 0x18, 200, 0, 0, 0, 0xf0};
    block.resize(8 + 200, u8{255});
    EXPECT_THAT(refusal(bzimage(block, 60000)), HasSubstr("lz4 block at offset"));
}

} // namespace
} // namespace domus::image::test
