// Clients that are not root: what a backend's daemon may change, and that nobody else gets in.
#include "daemon_fixture.hpp"

#include <pwd.h>
#include <unistd.h>

#include "xenstore-lite/server/peer.hpp"

namespace domus::xenstore::server {
namespace {

const Peer netd{.everything = false, .user = "domus-netd", .backend_type = "domus-vif"};
const Peer consoled{.everything = false, .user = "domus-consoled", .backend_type = ""};

wire::Message write_of(const std::string& path, std::uint32_t type = XS_WRITE) {
    return {type, 1, 0, path + '\0' + "value"};
}

TEST(Peer, RootMayDoAll) {
    EXPECT_TRUE(Peer{}.may(write_of("/local/domain/0/backend/domus-vbd/3/51712/params")));
    EXPECT_TRUE(Peer{}.may({XS_INTRODUCE, 1, 0, ""}));
    EXPECT_TRUE(peer_of(0, {})->everything);
    EXPECT_FALSE(peer_of(::getpwnam("nobody")->pw_uid, default_backend_users()));
    EXPECT_FALSE(peer_of(4'000'000'000, default_backend_users())) << "a user without a name";
}

TEST(Peer, ABackendSaysWhatIsItsOwn) {
    const std::string device = "/local/domain/0/backend/domus-vif/3/0/";
    for (const char* node : {"state", "feature-sg", "multi-queue-max-queues", "resize", "resize-error", "sectors"}) {
        for (const auto type : {XS_WRITE, XS_MKDIR, XS_RM}) {
            EXPECT_TRUE(netd.may(write_of(device + node, type))) << node;
            EXPECT_FALSE(consoled.may(write_of(device + node, type))) << node;
        }
    }
    EXPECT_TRUE(netd.may(write_of("/local/domain/0/error/backend/domus-vif/3/0/error")));
    EXPECT_TRUE(netd.may({XS_READ, 1, 0, "/local/domain/7/device/vif/0/state"}));
    EXPECT_TRUE(consoled.may({XS_WATCH, 1, 0, "@introduceDomain"}));
}

TEST(Peer, NothingElseIsChanged) {
    const std::string backend = "/local/domain/0/backend/";
    for (const auto& path :
         {// what the toolstack says of its devices
          backend + "domus-vif/3/0/bridge", backend + "domus-vif/3/0/mac", backend + "domus-vif/3/0/frontend",
          backend + "domus-vif/3/0/params", backend + "domus-vif/3/0/mode", backend + "domus-vif/3/0/online",
          // another backend's, and those above and below
          backend + "domus-vbd/3/51712/state", backend + "vif/3/0/state", backend + "domus-vif/3/0",
          backend + "domus-vif/3/state", backend + "domus-vif", backend + "domus-vif/3/0/state/state",
          backend + "domus-vif/3/0/x/state", backend + "domus-vif/3/0/x/feature-sg",
          // other spellings, all refused here or by the store
          std::string("backend/domus-vif/3/0/state"), backend + "domus-vif//0/state", backend + "domus-vif/3/0/state/",
          backend + "domus-vif/+3/0/state", backend + "domus-vif/3/0/", backend + "domus-vif/3//state",
          "/" + backend + "domus-vif/3/0/state", std::string("/local/domain/00/backend/domus-vif/3/0/state"),
          // other homes and nodes
          std::string("/local/domain/3/backend/domus-vif/3/0/state"),
          std::string("/local/domain/0/error/backend/domus-vbd/3/0/error"),
          std::string("/local/domain/0/error/backend/domus-vif/3/0"), std::string("/local/domain/3/device/vif/0/state"),
          std::string("/vm/state"), std::string("/"), std::string()}) {
        for (const auto type : {XS_WRITE, XS_MKDIR, XS_RM}) {
            EXPECT_FALSE(netd.may(write_of(path, type))) << path;
        }
    }
    for (std::uint32_t type = 0; type < 40; ++type) {
        const bool asks = type == XS_DIRECTORY || type == XS_READ || type == XS_GET_PERMS || type == XS_WATCH ||
                          type == XS_UNWATCH || type == XS_TRANSACTION_START || type == XS_TRANSACTION_END ||
                          type == XS_GET_DOMAIN_PATH || type == XS_IS_DOMAIN_INTRODUCED || type == XS_DIRECTORY_PART;
        EXPECT_EQ(netd.may({type, 1, 0, "/vm/x"}), asks) << type;
    }
    EXPECT_FALSE(netd.may({XS_SET_PERMS, 1, 0, backend + "domus-vif/3/0/state" + '\0' + "n3" + '\0'}));
    EXPECT_FALSE(netd.may({0xffffffff, 1, 0, ""}));
}

/// Clients connect as the user nobody, which the kernel tells the daemon.
struct PeerTest : DaemonTest {
    void SetUp() override {
        if (::getuid() != 0) {
            GTEST_SKIP() << "only root can connect as somebody else";
        }
        using std::filesystem::perms;
        std::filesystem::permissions(folder.path(), perms::group_exec | perms::others_exec,
                                     std::filesystem::perm_options::add);
    }
    std::shared_ptr<Client> connect_as_nobody() {
        EXPECT_EQ(::seteuid(::getpwnam("nobody")->pw_uid), 0);
        std::shared_ptr<Client> client;
        try {
            client = connect();
        } catch (const boost::system::system_error& error) {
            ADD_FAILURE() << error.what();
        }
        EXPECT_EQ(::seteuid(0), 0);
        settle();
        return client;
    }
    int error_of(asio::awaitable<void> work) {
        try {
            run(std::move(work));
        } catch (const boost::system::system_error& error) {
            return error.code().value();
        }
        return 0;
    }
};

TEST_F(PeerTest, ABackendsUserWritesItsStateOnlyAndReadsAll) {
    options.backend_users = {{"nobody", "domus-vif"}};
    start();
    const std::string device = "/local/domain/0/backend/domus-vif/3/0/";
    auto root = connect();
    run(root->write(device + "bridge", "xenbr0"));
    auto client = connect_as_nobody();
    ASSERT_TRUE(client);
    EXPECT_EQ(run(client->read(device + "bridge")), "xenbr0");
    EXPECT_EQ(error_of(client->write(device + "state", "4")), 0);
    EXPECT_EQ(run(root->read(device + "state")), "4");
    EXPECT_EQ(error_of(client->write(device + "bridge", "lan")), EACCES);
    EXPECT_EQ(error_of(client->rm("/local")), EACCES);
    EXPECT_EQ(error_of(client->release(3)), EACCES);
    EXPECT_EQ(error_of(client->set_permissions(device + "state", {{3, 'n'}})), EACCES);
    EXPECT_EQ(run(root->read(device + "bridge")), "xenbr0");
    // Within a transaction, too, which can still be ended.
    EXPECT_EQ(error_of(client->transaction([&](Tx tx) -> asio::awaitable<void> {
                  co_await client->write(device + "state", "5", tx);
                  co_await client->write(device + "bridge", "lan", tx);
              })),
              EACCES);
    EXPECT_EQ(run(root->read(device + "state")), "4");
    EXPECT_EQ(error_of(client->transaction([&](Tx tx) -> asio::awaitable<void> {
                  co_await client->write(device + "state", "5", tx);
                  co_await client->write(device + "feature-sg", "1", tx);
              })),
              0);
    EXPECT_EQ(run(root->read(device + "state")), "5");
}

TEST_F(PeerTest, AfterTheDaemonsDeathTheUserIsKnownAgain) {
    options.backend_users = {{"nobody", "domus-vif"}};
    start();
    auto client = connect_as_nobody();
    ASSERT_TRUE(client);
    stop();
    start();
    EXPECT_EQ(::seteuid(::getpwnam("nobody")->pw_uid), 0); // who it is when it connects again
    const int read = error_of([](std::shared_ptr<Client> xs) -> asio::awaitable<void> {
        co_await xs->try_read("/local/domain/0/nothing");
    }(client));
    EXPECT_EQ(::seteuid(0), 0);
    EXPECT_EQ(read, 0);
    EXPECT_EQ(error_of(client->write("/local/domain/0/backend/domus-vif/3/0/state", "4")), 0);
    EXPECT_EQ(error_of(client->write("/vm/x", "4")), EACCES);
}

TEST_F(PeerTest, AnybodyElseIsTurnedAway) {
    options.backend_users = {{"domus-netd", "domus-vif"}};
    start();
    asio::local::stream_protocol::socket socket(context);
    ASSERT_EQ(::seteuid(::getpwnam("nobody")->pw_uid), 0);
    boost::system::error_code failed;
    socket.connect(asio::local::stream_protocol::endpoint(options.socket.string()), failed);
    ASSERT_EQ(::seteuid(0), 0);
    ASSERT_FALSE(failed) << failed.message();
    settle();
    char byte = 0;
    EXPECT_EQ(::recv(socket.native_handle(), &byte, 1, MSG_DONTWAIT), 0) << "the connection was not closed";
}

} // namespace
} // namespace domus::xenstore::server
