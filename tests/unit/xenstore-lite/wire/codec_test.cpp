// The wire format: what is encoded is decoded, however the stream is cut, and broken streams stay broken.
#include "xenstore-lite/wire/codec.hpp"
#include "xenstore-lite/wire/permission.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace domus::xenstore::wire {

TEST(Codec, EncodesTheHeaderOfThePublicHeader) {
    const std::string bytes = encode({XS_WRITE, 7, 9, "ab"});
    xsd_sockmsg header;
    ASSERT_EQ(bytes.size(), sizeof header + 2);
    std::memcpy(&header, bytes.data(), sizeof header);
    EXPECT_EQ(header.type, static_cast<std::uint32_t>(XS_WRITE));
    EXPECT_EQ(header.req_id, 7u);
    EXPECT_EQ(header.tx_id, 9u);
    EXPECT_EQ(header.len, 2u);
}

TEST(Codec, DecodesAStreamCutAnywhere) {
    std::mt19937 random(1);
    std::vector<Message> sent;
    std::string stream;
    for (std::uint32_t i = 0; i < 200; ++i) {
        sent.push_back({i % 25, i, i * 3, std::string(random() % (max_payload + 1), static_cast<char>(i))});
        stream += encode(sent.back());
    }
    Decoder decoder;
    std::vector<Message> received;
    std::string_view rest = stream;
    while (!rest.empty()) {
        const auto piece = rest.substr(0, 1 + random() % 3000);
        decoder.feed(piece);
        rest.remove_prefix(piece.size());
        while (auto message = decoder.next()) {
            received.push_back(std::move(*message));
        }
    }
    EXPECT_EQ(received, sent);
    EXPECT_TRUE(decoder.partial().empty());
}

TEST(Codec, OverlongPayloadBreaksTheStreamForGood) {
    xsd_sockmsg header{XS_READ, 1, 0, max_payload + 1};
    Decoder decoder;
    decoder.feed({reinterpret_cast<const char*>(&header), sizeof header});
    EXPECT_FALSE(decoder.next());
    EXPECT_TRUE(decoder.broken());
    decoder.feed(encode({XS_READ, 2, 0, std::string("/", 2)}));
    EXPECT_FALSE(decoder.next());
}

TEST(Codec, HugeLengthDoesNotOverflow) {
    xsd_sockmsg header{XS_READ, 1, 0, 0xffffffff};
    Decoder decoder;
    decoder.feed({reinterpret_cast<const char*>(&header), sizeof header});
    EXPECT_FALSE(decoder.next());
    EXPECT_TRUE(decoder.broken());
}

TEST(Codec, PartialSaysWhatIsMissing) {
    Decoder decoder;
    EXPECT_EQ(decoder.wanted(), header_size);
    const std::string bytes = encode({XS_READ, 1, 0, "0123456789"});
    decoder.feed(std::string_view(bytes).substr(0, 20));
    EXPECT_FALSE(decoder.next());
    EXPECT_EQ(decoder.wanted(), 6u);
    EXPECT_EQ(decoder.partial(), std::string_view(bytes).substr(0, 20));
}

TEST(Codec, ErrorNames) {
    EXPECT_EQ(error_name(ENOENT), "ENOENT");
    EXPECT_EQ(error_name(12345), "EINVAL");
    EXPECT_EQ(error_number("EAGAIN"), EAGAIN);
    EXPECT_EQ(error_number("ENONSENSE"), EIO);
}

TEST(Codec, SplitAndJoin) {
    using Strings = std::vector<std::string>;
    EXPECT_EQ(split(std::string("a\0b\0", 4)), (Strings{"a", "b"}));
    EXPECT_EQ(split(std::string("a\0b", 3)), (Strings{"a", "b"}));
    EXPECT_EQ(split(""), Strings{});
    EXPECT_EQ(split(std::string("\0", 1)), Strings{""});
    EXPECT_EQ(join({"a", "", "b"}), std::string("a\0\0b\0", 5));
}

TEST(Codec, PermissionsAreReadStrictly) {
    EXPECT_EQ(parse_permission("b3"), (Permission{3, 'b'}));
    EXPECT_EQ(parse_permission("n65535"), (Permission{65535, 'n'}));
    for (const auto* text : {"", "b", "x3", "b-1", "b65536", "b3 ", "b 3", "b99999999999999999999", "3b", "B3"}) {
        EXPECT_FALSE(parse_permission(text)) << text;
    }
    EXPECT_EQ(to_string(Permission{12, 'r'}), "r12");
}

} // namespace domus::xenstore::wire
