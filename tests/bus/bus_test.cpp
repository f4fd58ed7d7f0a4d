// The bus itself: a guest's store over its ring.
#include "tests/bus/bus.hpp"

#include <gtest/gtest.h>

namespace domus::bus {
namespace {

TEST(Bus, AGuestReadsAndWritesTheStore) {
    Bus bus;
    Guest& guest = bus.boot();
    std::string name;
    bool done = false;
    guest.start([](guest::Kit& kit, std::string& n, bool& d) -> guest::Task<void> {
        const auto read = co_await kit.store.read("domid");
        n = read ? std::string(read.value()) : "error";
        const auto wrote = co_await kit.store.write("hello", "from the guest");
        d = wrote.ok();
    }(guest.kit(), name, done));
    ASSERT_TRUE(bus.until([&] { return done; }));
    EXPECT_EQ(name, "1");
    EXPECT_EQ(bus.read("/local/domain/1/hello"), "from the guest");
}

} // namespace
} // namespace domus::bus
