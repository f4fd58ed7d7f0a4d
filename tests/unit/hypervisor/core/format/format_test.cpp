// format_to: what it prints, and that it never writes past its buffer.
#include "hypervisor/core/format.hpp"

#include <gtest/gtest.h>

namespace domus::hv {
namespace {

template <class... Args>
std::string text(std::string_view pattern, const Args&... args) {
    char buffer[128];
    return std::string(format_to(buffer, pattern, args...));
}

TEST(Format, Values) {
    EXPECT_EQ(text("port {} of d{}", 5u, DomId(3)), "port 5 of d3");
    EXPECT_EQ(text("{} {}", -1, i64{-9223372036854775807 - 1}), "-1 -9223372036854775808");
    EXPECT_EQ(text("{x} {X}", 255u, Mfn(0xab)), "0xff 00000000000000ab");
    EXPECT_EQ(text("{} {}", "text", std::string_view("view")), "text view");
    EXPECT_EQ(text("{}", ~u64{0}), "18446744073709551615");
}

TEST(Format, TooFewAndTooManyArguments) {
    EXPECT_EQ(text("{} {}", 1), "1 ");
    EXPECT_EQ(text("none", 1, 2), "none");
    EXPECT_EQ(text("open {", 1), "open {");
}

TEST(Format, CutOffAtTheEndOfTheBuffer) {
    char buffer[8];
    std::fill(buffer, buffer + 8, '#');
    EXPECT_EQ(format_to({buffer, 5}, "{}", "longer than five"), "longe");
    EXPECT_EQ(std::string(buffer + 5, 3), "###");
    EXPECT_EQ(format_to({buffer, 0}, "{}", 1), "");
}

} // namespace
} // namespace domus::hv
