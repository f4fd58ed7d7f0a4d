// Devices come and go in the store; each is found once.
#include "backend-drivers/common/directory.hpp"

#include "toy.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

namespace domus::backend::test {
namespace {

struct DirectoryTest : World {
    std::vector<DeviceId> added;
    std::unique_ptr<Directory> directory;

    asio::cancellation_signal stop;
    bool ended = true;

    void start() {
        directory = std::make_unique<Directory>(client, "/local/domain/0", "domus-toy",
                                                [this](DeviceId found) { added.push_back(std::move(found)); });
        ended = false;
        asio::co_spawn(io, directory->run(),
                       asio::bind_cancellation_slot(stop.slot(), [this](std::exception_ptr) { ended = true; }));
    }
    ~DirectoryTest() override {
        stop.emit(asio::cancellation_type::terminal); // run() uses the directory to its end
        EXPECT_TRUE(until([&] { return ended; }));
    }
};

TEST_F(DirectoryTest, FindsWhatIsThereAndWhatComes) {
    write_device();
    start();
    ASSERT_TRUE(until([&] { return added.size() == 1; }));
    EXPECT_EQ(added[0], id);
    id.devid = 8;
    write_device();
    ASSERT_TRUE(until([&] { return added.size() == 2; }));
    EXPECT_EQ(added[1], id);
    store.write(id.path() + "/state", "2");
    settle();
    EXPECT_EQ(added.size(), 2u) << "a node of a known device is no new device";
}

TEST_F(DirectoryTest, ADeviceThatCameBackWhileItsServerEndedIsFoundAgain) {
    write_device();
    start();
    ASSERT_TRUE(until([&] { return added.size() == 1; }));
    store.remove(id.path());
    write_device();
    settle();
    EXPECT_EQ(added.size(), 1u) << "its server has not ended yet";
    spawn([this](World&) -> asio::awaitable<void> { co_await directory->forget(id); });
    EXPECT_TRUE(until([&] { return added.size() == 2; }));
}

TEST_F(DirectoryTest, NonsenseIsNoDevice) {
    store.write("/local/domain/0/backend/domus-toy/x/1/frontend", "a");
    store.write("/local/domain/0/backend/domus-toy/70000/1/frontend", "a");
    store.write("/local/domain/0/backend/domus-toy/3/9999999999/frontend", "a");
    store.write("/local/domain/0/backend/domus-toy/3/5/something", "a");
    start();
    write_device();
    ASSERT_TRUE(until([&] { return !added.empty(); }));
    settle();
    EXPECT_EQ(added, std::vector<DeviceId>{id});
}

TEST_F(DirectoryTest, HomeIsTheAskersOwn) {
    std::string home;
    spawn([&](World& world) -> asio::awaitable<void> { home = co_await own_home(*world.client); });
    ASSERT_TRUE(until([&] { return !home.empty(); }));
    EXPECT_EQ(home, "/local/domain/0");
}

} // namespace
} // namespace domus::backend::test
