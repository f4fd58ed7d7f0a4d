// The client on a character device as /dev/xen/xenbus is one: a pseudo-terminal stands for it, this test for the
// kernel, which answers requests to watch itself and without their number.
#include <array>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "xenstore-lite/client/client.hpp"
#include "xenstore-lite/wire/codec.hpp"

namespace domus::xenstore {
namespace {

namespace asio = boost::asio;

struct DeviceTest : testing::Test {
    asio::io_context io{1};
    asio::posix::stream_descriptor kernel{io};
    std::string path;
    int kept = -1; // the device's end stays open: a terminal whose last user goes is hung up
    std::vector<std::uint32_t> numbers;
    bool overlapped = false; // a request came before the one ahead of it was answered

    DeviceTest() {
        int master = -1;
        char name[64];
        termios raw{};
        ::cfmakeraw(&raw);
        if (::openpty(&master, &kept, name, &raw, nullptr) != 0) {
            throw std::runtime_error("openpty");
        }
        path = name;
        kernel.assign(master);
    }
    ~DeviceTest() override { ::close(kept); }

    asio::awaitable<void> say(wire::Message message) {
        const std::string bytes = wire::encode(message);
        co_await asio::async_write(kernel, asio::buffer(bytes), asio::use_awaitable);
    }
    asio::awaitable<void> pause() {
        asio::steady_timer timer(io, std::chrono::milliseconds(5));
        co_await timer.async_wait(asio::use_awaitable);
    }
    asio::awaitable<void> serve() {
        wire::Decoder decoder;
        std::array<char, 4096> buffer;
        for (;;) {
            const auto [error, count] =
                co_await kernel.async_read_some(asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
            if (error) {
                co_return;
            }
            decoder.feed({buffer.data(), count});
            while (const auto request = decoder.next()) {
                // Linux answers a request to watch inside write(2), and until then no other answer of this file gets
                // through: a request before it that is still unanswered stops both for ever.
                co_await pause();
                int more = 0;
                ::ioctl(kernel.native_handle(), FIONREAD, &more);
                overlapped = overlapped || more > 0 || !decoder.partial().empty();
                wire::Message answer{request->type, request->req_id, 0, "value"};
                numbers.push_back(request->req_id);
                if (request->type == XS_WATCH) {
                    wire::Message event{XS_WATCH_EVENT, 0, 0, request->payload};
                    answer = {XS_WATCH, 0, 0, std::string("OK", 3)};
                    co_await say(std::move(event));
                }
                co_await say(std::move(answer));
            }
        }
    }
    template <class Work>
    void run(Work work) {
        std::exception_ptr failure;
        bool done = false;
        asio::co_spawn(io, serve(), [](std::exception_ptr) {});
        asio::co_spawn(io, work(), [&](std::exception_ptr thrown) {
            failure = thrown;
            done = true;
            kernel.close();
        });
        io.run_for(std::chrono::seconds(20));
        EXPECT_TRUE(done);
        EXPECT_EQ(failure, nullptr);
    }
};

TEST_F(DeviceTest, RequestsAndWatches) {
    run([&]() -> asio::awaitable<void> {
        const auto client = co_await Client::connect(path);
        const auto domid = co_await client->read("domid");
        EXPECT_EQ(domid, "value");
        const auto watch = co_await client->watch("backend/domus-vif");
        const auto changed = co_await watch->next();
        EXPECT_EQ(changed, "backend/domus-vif");
        const auto again = co_await client->read("again");
        EXPECT_EQ(again, "value");
    });
    EXPECT_GE(numbers.size(), 3u);
}

TEST_F(DeviceTest, OneRequestAtATime) {
    run([&]() -> asio::awaitable<void> {
        const auto client = co_await Client::connect(path);
        int left = 8;
        for (int i = 0; i < 8; ++i) {
            asio::co_spawn(
                io,
                [&, i]() -> asio::awaitable<void> {
                    if (i % 2 == 0) {
                        co_await client->read("node");
                    } else {
                        co_await client->watch("backend");
                    }
                    --left;
                },
                asio::detached);
        }
        while (left > 0) {
            co_await pause();
        }
    });
    EXPECT_FALSE(overlapped);
}

} // namespace
} // namespace domus::xenstore
