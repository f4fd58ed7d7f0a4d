// A guest's ring, the daemon's parts and real unix-socket terminals in one process; the guest is this test.
#include <filesystem>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend-drivers/console/server.hpp"
#include "tests/unit/hypervisor/client/fake_events.hpp"

namespace domus::console {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

struct ServeTest : testing::Test {
    fs::path folder = fs::path(testing::TempDir()) / ("domus-serve-" + std::to_string(::getpid()));
    std::string socket_path = folder / "console.sock";
    asio::io_context context{1};
    client::test::FakeEvents* bell = new client::test::FakeEvents;
    std::shared_ptr<client::EventChannels> events = std::make_shared<client::EventChannels>(
        context.get_executor(), std::unique_ptr<client::RawEventChannels>(bell));
    std::shared_ptr<xencons_interface> page = std::make_shared<xencons_interface>();
    std::shared_ptr<Guest> guest = std::make_shared<Guest>(context.get_executor(), 5);
    bool served = false;

    void SetUp() override {
        fs::create_directories(folder);
        guest->set_name("tester");
        asio::co_spawn(context,
                       accept_terminals(listen(context.get_executor(), socket_path),
                                        [this](std::uint16_t domid) -> asio::awaitable<std::shared_ptr<Guest>> {
                                            if (domid != 5) {
                                                throw std::runtime_error("there is no such domain");
                                            }
                                            co_return guest;
                                        }),
                       asio::detached);
    }
    void TearDown() override {
        guest->close();
        context.run_for(20ms);
        fs::remove_all(folder);
    }
    void serve() {
        asio::co_spawn(context, guest->serve(page, events, 3, GuestLog(folder / "tester.log", 65536)),
                       [this](std::exception_ptr failure) { served = failure == nullptr; });
        context.run_for(20ms);
    }
    /// The guest writes as much as fits and rings the bell.
    std::size_t write(std::string_view text) {
        std::size_t done = 0;
        while (done < text.size() && page->out_prod - page->out_cons < sizeof page->out) {
            page->out[MASK_XENCONS_IDX(page->out_prod++, page->out)] = text[done++];
        }
        bell->fire(bell->last_port);
        return done;
    }
    void write_all(std::string_view text) {
        while (!text.empty()) {
            text.remove_prefix(write(text));
            context.run_for(1ms);
        }
    }
    struct Terminal {
        asio::local::stream_protocol::socket socket;
        std::string seen;
        bool hung_up = false;
    };
    std::unique_ptr<Terminal> attach(const std::string& line) {
        auto terminal = std::make_unique<Terminal>(Terminal{asio::local::stream_protocol::socket(context), {}, false});
        terminal->socket.connect(socket_path);
        terminal->socket.non_blocking(true);
        type(*terminal, line);
        read(*terminal);
        return terminal;
    }
    static void type(Terminal& terminal, std::string_view text) {
        boost::system::error_code ignored;
        terminal.socket.write_some(asio::buffer(text), ignored);
    }
    void read(Terminal& terminal) {
        context.run_for(20ms);
        std::array<char, 65536> chunk;
        boost::system::error_code failed;
        while (const auto got = terminal.socket.read_some(asio::buffer(chunk), failed)) {
            terminal.seen.append(chunk.data(), got);
            context.poll();
        }
        terminal.hung_up = failed == asio::error::eof;
    }
};

constexpr char replay[] = "domus-console 1 attach 5 replay\n";

TEST_F(ServeTest, TwoTerminalsSeeTheSameAndBothType) {
    serve();
    write_all("before\n");
    auto first = attach(replay), second = attach(replay);
    EXPECT_EQ(first->seen, "ok tester\nbefore\n");
    write_all("after\n");
    read(*first), read(*second);
    EXPECT_EQ(second->seen, "ok tester\nbefore\nafter\n");
    type(*first, "ab"), type(*second, "cd");
    context.run_for(20ms);
    EXPECT_EQ(page->in_prod, 4u);
    EXPECT_FALSE(bell->notified.empty());
}

TEST_F(ServeTest, WhatIsInTheRingAtTheStartIsTaken) {
    write("written while no daemon ran\n");
    serve();
    EXPECT_THAT(attach(replay)->seen, HasSubstr("while no daemon ran"));
    EXPECT_EQ(attach("domus-console 1 attach 5 resume\n")->seen, "ok tester\n");
}

TEST_F(ServeTest, AFloodReachesEverybodyAndTheLogStaysBounded) {
    serve();
    auto first = attach(replay), second = attach(replay);
    std::string all;
    for (int i = 0; i < 3000; ++i) {
        all += "line " + std::to_string(i) + " of the flood, some text to fill it up to a good length\n";
    }
    for (std::size_t at = 0; at < all.size(); at += 1500) {
        write_all(std::string_view(all).substr(at, 1500));
        read(*first), read(*second);
    }
    EXPECT_EQ(first->seen.size(), all.size() + 10);
    EXPECT_EQ(first->seen, second->seen);
    EXPECT_LE(fs::file_size(folder / "tester.log"), 65536u);
}

TEST_F(ServeTest, ATerminalThatDoesNotReadHoldsUpNobody) {
    serve();
    auto lazy = attach(replay);
    for (int i = 0; i < 700; ++i) {
        write_all(std::string(1500, 'x'));
    }
    EXPECT_EQ(page->out_cons, page->out_prod);
    read(*lazy), read(*lazy);
    EXPECT_THAT(lazy->seen, HasSubstr("were not read in time"));
}

TEST_F(ServeTest, TypingMoreThanTheGuestTakesLosesNothing) {
    serve();
    auto terminal = attach(replay);
    std::string typed, taken;
    for (int i = 0; i < 5000; ++i) {
        typed += std::to_string(i) + " ";
    }
    std::size_t sent = 0;
    for (int round = 0; round < 500 && taken.size() < typed.size(); ++round) {
        boost::system::error_code ignored;
        sent += terminal->socket.write_some(asio::buffer(typed.substr(sent)), ignored);
        context.run_for(2ms);
        while (page->in_cons != page->in_prod) {
            taken += page->in[MASK_XENCONS_IDX(page->in_cons++, page->in)];
        }
        bell->fire(bell->last_port);
    }
    EXPECT_EQ(taken, typed);
}

TEST_F(ServeTest, TheEndOfTheGuestDeliversItsLastWordsAndHangsUp) {
    serve();
    auto terminal = attach(replay);
    write("last words");
    guest->close();
    read(*terminal), read(*terminal);
    EXPECT_THAT(terminal->seen, HasSubstr("last words"));
    EXPECT_TRUE(terminal->hung_up);
    EXPECT_TRUE(served) << "serve() ends well";
}

TEST_F(ServeTest, ATerminalMayComeBeforeTheConsoleIsReady) {
    auto early = attach(replay);
    type(*early, "x");
    serve();
    write_all("hello\n");
    read(*early);
    EXPECT_EQ(early->seen, "ok tester\nhello\n");
    EXPECT_EQ(page->in_prod, 1u);
}

TEST_F(ServeTest, StrangersAreToldAndDropped) {
    auto unknown = attach("domus-console 1 attach 6 replay\n");
    EXPECT_EQ(unknown->seen, "error there is no such domain\n");
    EXPECT_TRUE(unknown->hung_up);
    auto stranger = attach("GET / HTTP/1.1\r\n");
    EXPECT_THAT(stranger->seen, StartsWith("error "));
    auto babbler = attach(std::string(100000, 'x'));
    EXPECT_THAT(babbler->seen, StartsWith("error "));
    auto leaver = attach("");
    leaver->socket.close();
    context.run_for(20ms);
}

TEST_F(ServeTest, GarbageIndicesDoNotStopTheService) {
    serve();
    auto terminal = attach(replay);
    page->out_prod = 0x80000000;
    page->in_cons = 12345;
    bell->fire(bell->last_port);
    context.run_for(20ms);
    type(*terminal, "into the void");
    context.run_for(20ms);
    page->in_cons = page->in_prod;
    write_all("recovered\n");
    read(*terminal);
    EXPECT_THAT(terminal->seen, HasSubstr("recovered"));
}

TEST_F(ServeTest, ALiveDaemonIsNotDisplacedADeadOnesSocketIs) {
    EXPECT_THROW(listen(context.get_executor(), socket_path), std::runtime_error);
    const std::string stale = folder / "stale.sock";
    { asio::local::stream_protocol::acceptor dead(context, asio::local::stream_protocol::endpoint(stale)); }
    ASSERT_TRUE(fs::exists(stale));
    EXPECT_NO_THROW(listen(context.get_executor(), stale));
    EXPECT_EQ(fs::status(stale).permissions(), fs::perms(0600));
}

} // namespace
} // namespace domus::console
