// Media opened by the process that has the right to: what it opens, for whom, and what a hostile worker gets from it.
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "backend-drivers/block/nbd_uri.hpp"
#include "backend-drivers/block/opener.hpp"
#include "tests/unit/backend-drivers/common/toy.hpp"

namespace domus::block {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;

TEST(NbdUri, TheSocketOfALocalServer) {
    const auto there = local_server("nbd+unix:///disk%20one/a?socket=/run/domus/nbd/3%2d1");
    ASSERT_TRUE(there);
    EXPECT_EQ(there->name, "disk one/a");
    EXPECT_EQ(there->socket, "/run/domus/nbd/3-1");
    EXPECT_EQ(local_server("nbd+unix:///?socket=/run/web.sock")->name, "");
    for (const char* other : {"nbd://host/a?socket=/x", "nbds+unix:///?socket=/x", "nbd+unix:///?socket=x",
                              "nbd+unix:///?socket=", "nbd+unix:///a", "nbd+unix:///?socket=/x&tls-psk-file=/y",
                              "nbd+unix:///?tls=1&socket=/x", "nbd+unix://host/?socket=/x", "nbd+unix:///?socket=/x#y",
                              "nbd+unix:///?socket=/x%00y", "nbd+unix:///?socket=/%2", "nbd+unix:///?socket=/%zz",
                              "nbd+unix:///%?socket=/x", "/srv/nbd+unix:///?socket=/x", ""}) {
        EXPECT_FALSE(local_server(other)) << other;
    }
}

struct MediaTest : testing::Test {
    std::string folder = testing::TempDir() + "domus-media-" + std::to_string(::getpid());
    MediaTest() {
        std::filesystem::create_directory(folder);
        std::ofstream(folder + "/image") << std::string(8192, 'x');
    }
    ~MediaTest() override { std::filesystem::remove_all(folder); }
};

TEST_F(MediaTest, AnImageIsOpenedAsItMayBe) {
    const auto read_only = open_medium(folder + "/image", true);
    ASSERT_TRUE(read_only.descriptor);
    EXPECT_EQ(::fcntl(read_only.descriptor.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    const auto both = open_medium(folder + "/image", false);
    ASSERT_TRUE(both.descriptor);
    EXPECT_EQ(::fcntl(both.descriptor.get(), F_GETFL) & O_ACCMODE, O_RDWR);
}

TEST_F(MediaTest, NothingElseIsOpened) {
    ASSERT_EQ(::mkfifo((folder + "/fifo").c_str(), 0600), 0);
    for (const std::string& path : {folder, folder + "/fifo", std::string("/dev/null"), std::string("/dev/zero")}) {
        const auto opened = open_medium(path, true);
        EXPECT_FALSE(opened.descriptor) << path;
        EXPECT_THAT(opened.why, HasSubstr("neither a block device nor an image file")) << path;
    }
    EXPECT_EQ(open_medium(folder + "/absent", true).error, ENOENT);
    EXPECT_EQ(open_medium("", true).error, ENOENT);
    EXPECT_FALSE(open_target("nbd://localhost/a", true).descriptor);
    EXPECT_FALSE(connect_socket(folder + "/" + std::string(200, 'x')).descriptor);
    EXPECT_EQ(connect_socket(folder + "/image").error, ECONNREFUSED);
}

/// Both ends in one process, with a real store.
struct OpenerTest : backend::test::World {
    std::string folder = testing::TempDir() + "domus-opener-" + std::to_string(::getpid());
    std::string device = "/local/domain/0/backend/domus-vbd/3/51712";
    std::unique_ptr<RemoteOpener> opener;
    int lost = 0, ends[2] = {-1, -1};
    bool served = true;

    void SetUp() override {
        std::filesystem::create_directory(folder);
        std::ofstream(folder + "/image") << std::string(8192, 'x');
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        asio::co_spawn(io, serve_openings(client::Descriptor(ends[1]), client),
                       [this](const std::exception_ptr&) { served = false; });
    }
    void TearDown() override {
        opener.reset();
        if (ends[0] >= 0) {
            ::close(ends[0]);
        }
        EXPECT_TRUE(until([&] { return !served; })) << "it outlives its worker";
        std::filesystem::remove_all(folder);
    }
    void start_worker() {
        opener = std::make_unique<RemoteOpener>(io.get_executor(), client::Descriptor(std::exchange(ends[0], -1)),
                                                [this] { ++lost; });
    }
    void ask(std::vector<Opened>& answers, Spec spec) {
        asio::co_spawn(
            io, [](RemoteOpener& opener, Spec spec) { return opener.open(std::move(spec)); }(*opener, std::move(spec)),
            [&answers](const std::exception_ptr&, Opened opened) { answers.push_back(std::move(opened)); });
    }
    Opened open(Spec spec) {
        std::vector<Opened> answers;
        ask(answers, std::move(spec));
        EXPECT_TRUE(until([&] { return !answers.empty(); }));
        return answers.empty() ? Opened() : std::move(answers[0]);
    }
    static Spec disk(std::uint32_t devid = 51712) {
        Spec spec;
        spec.path = "/etc/shadow"; // whatever the worker says
        spec.domid = 3;
        spec.devid = devid;
        return spec;
    }
    static std::string target_of(int descriptor) {
        return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor));
    }
};

TEST_F(OpenerTest, TheStoreSaysWhatIsOpenedNotTheWorker) {
    start_worker();
    store.write(device + "/params", folder + "/image");
    store.write(device + "/mode", "r");
    auto opened = open(disk());
    ASSERT_TRUE(opened.descriptor) << opened.why;
    EXPECT_EQ(target_of(opened.descriptor.get()), std::filesystem::canonical(folder + "/image"));
    EXPECT_EQ(::fcntl(opened.descriptor.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_NE(::fcntl(opened.descriptor.get(), F_GETFD) & FD_CLOEXEC, 0);
    store.write(device + "/mode", "w");
    opened = open(disk());
    ASSERT_TRUE(opened.descriptor) << opened.why;
    EXPECT_EQ(::fcntl(opened.descriptor.get(), F_GETFL) & O_ACCMODE, O_RDWR);
    store.remove(device + "/mode");
    opened = open(disk());
    EXPECT_EQ(::fcntl(opened.descriptor.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(OpenerTest, WhatIsWrongIsSaid) {
    start_worker();
    auto opened = open(disk());
    EXPECT_FALSE(opened.descriptor);
    EXPECT_THAT(opened.why, HasSubstr("node params"));
    store.write(device + "/params", folder + "/absent");
    EXPECT_EQ(open(disk()).error, ENOENT);
    store.write(device + "/params", std::string(3000, 'x'));
    EXPECT_EQ(open(disk()).error, ENAMETOOLONG);
    store.write(device + "/params", "nbd+unix:///?socket=" + folder + "/absent.sock");
    EXPECT_EQ(open(disk()).error, ENOENT);
    EXPECT_EQ(lost, 0);
}

TEST_F(OpenerTest, ManyAreAnsweredEachWithItsOwn) {
    start_worker();
    for (std::uint32_t i = 0; i < 40; ++i) {
        const std::string path = folder + "/image-" + std::to_string(i);
        std::ofstream(path) << std::string(512, 'x');
        store.write("/local/domain/0/backend/domus-vbd/3/" + std::to_string(i) + "/params", path);
    }
    std::vector<Opened> answers;
    for (std::uint32_t i = 0; i < 40; ++i) {
        ask(answers, disk(i));
    }
    ASSERT_TRUE(until([&] { return answers.size() == 40; }));
    unsigned opened = 0;
    for (std::uint32_t i = 0; i < 40; ++i) {
        if (answers[i].descriptor) {
            EXPECT_THAT(target_of(answers[i].descriptor.get()), testing::EndsWith("/image-" + std::to_string(i)));
            ++opened;
        } else {
            EXPECT_EQ(answers[i].error, EBUSY) << "the socket was full: asked again in a moment";
        }
    }
    EXPECT_GT(opened, 5u);
}

TEST_F(OpenerTest, AServersSocketIsConnectedTo) {
    start_worker();
    const std::string path = folder + "/server.sock";
    const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(server, 1), 0);
    store.write(device + "/params", "nbd+unix:///?socket=" + path);
    const auto opened = open(disk());
    ASSERT_TRUE(opened.descriptor) << opened.error;
    const int there = ::accept(server, nullptr, nullptr);
    ASSERT_EQ(::send(there, "hello", 5, 0), 5);
    char said[6] = {};
    EXPECT_EQ(::recv(opened.descriptor.get(), said, 5, 0), 5);
    EXPECT_STREQ(said, "hello");
    ::close(there);
    ::close(server);
}

// Each of these is the end of both, and nothing is opened.
TEST_F(OpenerTest, WhatIsNoRequestEndsIt) {
    const OpenRequest odd{.devid = 1, .domid = 3, .zero = 1};
    ASSERT_EQ(::send(ends[0], &odd, sizeof odd, 0), ssize_t{sizeof odd});
    EXPECT_TRUE(until([&] { return !served; }));
}

TEST_F(OpenerTest, AShortRequestEndsIt) {
    ASSERT_EQ(::send(ends[0], "/etc", 4, 0), 4);
    EXPECT_TRUE(until([&] { return !served; }));
}

TEST_F(OpenerTest, ALongRequestEndsIt) {
    const std::string path(4000, '\0');
    ASSERT_EQ(::send(ends[0], path.data(), path.size(), 0), ssize_t(path.size()));
    EXPECT_TRUE(until([&] { return !served; }));
}

TEST_F(OpenerTest, AWorkerThatTakesNoAnswersEndsIt) {
    const OpenRequest request{.devid = 1, .domid = 3, .zero = 0};
    for (int full = 0; served && full < 100;) {
        if (::send(ends[0], &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            ++full;
            settle();
        }
    }
    EXPECT_FALSE(served);
}

TEST_F(OpenerTest, DescriptorsThatAreSentAreNotKept) {
    const int secret = ::open("/dev/null", O_RDONLY);
    OpenRequest request{.devid = 51712, .domid = 3, .zero = 0};
    iovec piece{&request, sizeof request};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &secret, sizeof secret);
    const auto count = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                             std::filesystem::directory_iterator());
    };
    settle();
    const auto before = count();
    ASSERT_EQ(::sendmsg(ends[0], &message, 0), ssize_t{sizeof request});
    settle();
    EXPECT_TRUE(served);
    EXPECT_EQ(count(), before);
    ::close(secret);
}

TEST_F(OpenerTest, TheWorkerHearsOfItsEnd) {
    start_worker();
    std::vector<Opened> answers;
    // As if it had been killed with a request on its way.
    ASSERT_EQ(::shutdown(ends[1], SHUT_RDWR), 0);
    ask(answers, disk());
    ASSERT_TRUE(until([&] { return lost == 1 && answers.size() == 1; }));
    EXPECT_FALSE(answers[0].descriptor);
    EXPECT_NE(answers[0].error, 0);
    ask(answers, disk());
    ASSERT_TRUE(until([&] { return answers.size() == 2; }));
    EXPECT_NE(answers[1].error, 0);
}

} // namespace
} // namespace domus::block
