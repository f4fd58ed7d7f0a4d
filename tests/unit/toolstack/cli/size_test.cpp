// Sizes of memory as people write them.
#include "toolstack/cli/size.hpp"

#include <gtest/gtest.h>
#include <stdexcept>

namespace domus::cli {
namespace {

TEST(Size, UnitsOfXl) {
    EXPECT_EQ(parse_memory_kib("512"), 512u * 1024);
    for (const char* text : {"512m", "512M", "512mb", "512MB", "524288k", "524288KB"})
        EXPECT_EQ(parse_memory_kib(text), 512u * 1024) << text;
    EXPECT_EQ(parse_memory_kib("2g"), 2048u * 1024);
    EXPECT_EQ(parse_memory_kib("1T"), 1ull << 30);
}

TEST(Size, RefusesTheRest) {
    for (const char* text : {"", "m", "0", "0g", "-1", "1.5g", "1 g", "512x", "512bb", "512b", "0x10", "1048577t",
                             "99999999999999999999", "999999999999g", "５12"})
        EXPECT_THROW(parse_memory_kib(text), std::runtime_error) << text;
}

} // namespace
} // namespace domus::cli
