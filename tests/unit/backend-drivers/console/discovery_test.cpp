// Which guests have a console: a real store's nodes come, change and go; grants and event channels are fakes.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xen/io/console.h>

#include "backend-drivers/console/discovery.hpp"
#include "tests/unit/hypervisor/client/fake_events.hpp"
#include "tests/unit/hypervisor/client/fake_grants.hpp"
#include "tests/unit/toolstack/fake/store.hpp"

namespace domus::console {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct DiscoveryTest : testing::Test {
    fs::path folder = fs::path(testing::TempDir()) / ("domus-discovery-" + std::to_string(::getpid()));
    asio::io_context io{1};
    std::shared_ptr<client::test::FakeGrants> grants = std::make_shared<client::test::FakeGrants>();
    client::test::FakeEvents* bell = new client::test::FakeEvents;
    engine::test::Faults none;
    std::unique_ptr<engine::test::StoreServer> store;
    std::shared_ptr<xenstore::Client> client;
    std::unique_ptr<Discovery> discovery;

    void SetUp() override {
        fs::create_directories(folder);
        grants->grant(0);
        backend::GuestAccess access{grants, std::make_shared<client::EventChannels>(
                                                io.get_executor(), std::unique_ptr<client::RawEventChannels>(bell))};
        store = std::make_unique<engine::test::StoreServer>(io, folder / "store.sock", none);
        store->write("/local/domain/0/name", "Domain-0");
        client = run(xenstore::Client::connect(folder / "store.sock"));
        discovery = std::make_unique<Discovery>(io.get_executor(), LogSettings{folder, 65536}, std::move(access));
        discovery->use(client);
        asio::co_spawn(io, discovery->run(), asio::detached);
        settle();
    }
    void TearDown() override {
        for (const auto& name : store->children("/local/domain")) {
            store->remove("/local/domain/" + name);
        }
        EXPECT_TRUE(until([&] { return grants->mapped == 0; })) << "a dead guest's page is kept";
        fs::remove_all(folder);
    }
    template <class T>
    T run(asio::awaitable<T> work) {
        auto result = asio::co_spawn(io, std::move(work), asio::use_future);
        EXPECT_TRUE(until([&] { return result.wait_for(0s) == std::future_status::ready; }));
        return result.get();
    }
    bool until(const std::function<bool()>& so) {
        const auto give_up = std::chrono::steady_clock::now() + 30s;
        while (!so()) {
            if (std::chrono::steady_clock::now() > give_up) {
                return false;
            }
            io.run_for(1ms);
            io.restart();
        }
        return true;
    }
    /// All that is under way has come to rest: the store answers in turn.
    void settle() {
        for (int i = 0; i < 5; ++i) {
            run(client->try_read("/local/domain/0/name"));
        }
    }
    std::string home(unsigned domid) const { return "/local/domain/" + std::to_string(domid); }
    void name(unsigned domid, const std::string& text) { store->write(home(domid) + "/name", text); }
    void ends(unsigned domid, const std::string& ring_ref, const std::string& port) {
        store->write(home(domid) + "/console/ring-ref", ring_ref);
        store->write(home(domid) + "/console/port", port);
    }
    void introduce(std::uint16_t domid) {
        run(client->introduce(domid, 1, 1));
        settle();
    }
    /// The guest writes to its console.
    void say(const std::string& text) {
        auto* ring = reinterpret_cast<xencons_interface*>(grants->page(0));
        std::copy(text.begin(), text.end(), ring->out + ring->out_prod);
        ring->out_prod += static_cast<XENCONS_RING_IDX>(text.size());
    }
    std::string log(const std::string& of) const {
        std::ifstream file(folder / (of + ".log"));
        return {std::istreambuf_iterator<char>(file), {}};
    }
    std::shared_ptr<Guest> find(std::uint16_t domid) { return run(discovery->find(domid)); }
    std::string refusal(std::uint16_t domid) {
        try {
            find(domid);
            return "";
        } catch (const std::runtime_error& error) {
            return error.what();
        }
    }
};

TEST_F(DiscoveryTest, AGuestsConsoleIsServedFromItsNodesToTheirEnd) {
    name(5, "web"), ends(5, "77", "3");
    say("hello\n");
    introduce(5);
    EXPECT_TRUE(until([&] { return log("web") == "hello\n"; }));
    const auto guest = find(5);
    EXPECT_EQ(guest->name(), "web");
    EXPECT_EQ(grants->mapped, 1u);
    say("last words\n");
    store->remove(home(5));
    EXPECT_TRUE(until([&] { return guest->closed() && grants->mapped == 0; }));
    EXPECT_EQ(log("web"), "hello\nlast words\n") << "it stays";
    EXPECT_THAT(refusal(5), testing::StartsWith("there is no domain 5"));
}

TEST_F(DiscoveryTest, ThoseThatWereThereBeforeAreServedToo) {
    name(5, "web"), ends(5, "77", "3");
    Discovery later(io.get_executor(), {folder, 65536}, {grants, nullptr});
    later.use(client);
    EXPECT_EQ(run(later.find(5))->domid(), 5u);
    store->remove(home(5)); // before it is served: it has no event channels
    settle();
}

TEST_F(DiscoveryTest, OneMayBeAskedForBeforeItIsReady) {
    name(5, "web");
    const auto guest = find(5);
    EXPECT_EQ(grants->mapped, 0u);
    ends(5, "77", "3");
    EXPECT_TRUE(until([&] { return grants->mapped == 1; }));
    EXPECT_EQ(find(5), guest);
}

TEST_F(DiscoveryTest, ADomainThatGoesBeforeItHasAConsoleEndsToo) {
    name(5, "web");
    const auto guest = find(5);
    settle();
    EXPECT_FALSE(guest->closed());
    store->remove(home(5));
    EXPECT_TRUE(until([&] { return guest->closed(); })) << "a terminal waits for ever";
    EXPECT_THAT(refusal(5), testing::StartsWith("there is no domain 5"));
}

TEST_F(DiscoveryTest, ARenamedGuestIsServedOn) {
    name(5, "web"), ends(5, "77", "3");
    const auto guest = find(5);
    EXPECT_TRUE(until([&] { return grants->mapped == 1; }));
    name(5, "mail");
    settle();
    EXPECT_EQ(find(5), guest);
    EXPECT_FALSE(guest->closed());
    EXPECT_EQ(grants->maps, 1u);
}

TEST_F(DiscoveryTest, AStoreWithoutDomainsIsNoFailure) {
    store->remove("/local/domain");
    introduce(6);
    name(5, "web"), ends(5, "77", "3");
    introduce(5);
    EXPECT_TRUE(until([&] { return grants->mapped == 1; }));
}

TEST_F(DiscoveryTest, AnotherDomainOfTheSameNumberIsAnotherGuest) {
    name(5, "web"), ends(5, "77", "3");
    const auto first = find(5);
    EXPECT_TRUE(until([&] { return grants->mapped == 1; }));
    name(5, "mail");
    ends(5, "78", "4");
    EXPECT_TRUE(until([&] { return first->closed(); }));
    EXPECT_TRUE(until([&] { return find(5)->name() == "mail"; }));
    EXPECT_TRUE(until([&] { return grants->mapped == 1; }));
}

TEST_F(DiscoveryTest, WhatIsNoConsoleOfOursIsLeftAlone) {
    name(5, "web"), ends(5, "77", "3");
    store->write(home(5) + "/console/type", "ioemu");
    name(6, "nonsense"), ends(6, "77", "three");
    name(7, "huge"), ends(7, "77", "4294967296");
    store->write("/local/domain/rubbish", ""), store->write("/local/domain/65536", "");
    introduce(5);
    settle();
    EXPECT_EQ(grants->maps, 0u);
    store->remove("/local/domain/rubbish");
}

TEST_F(DiscoveryTest, AGuestWithoutTheGrantHasNoneAndEndsAllTheSame) {
    grants->revoke(0);
    name(5, "web"), ends(5, "77", "3");
    const auto guest = find(5);
    settle();
    EXPECT_EQ(grants->mapped, 0u);
    EXPECT_EQ(find(5), guest) << "it is not tried again and again";
    store->remove(home(5));
    EXPECT_TRUE(until([&] { return guest->closed(); }));
}

TEST_F(DiscoveryTest, Dom0AndStrangersHaveNone) {
    EXPECT_THAT(refusal(0), testing::HasSubstr("the machine's own"));
    EXPECT_THAT(refusal(9), testing::HasSubstr("see `domus list`"));
}

} // namespace
} // namespace domus::console
