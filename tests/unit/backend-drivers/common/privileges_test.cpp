// What a process may still do after it has given up its rights: looked at from its own /proc, and tried. Those tests
// that change the user need root, as the daemons do, and are skipped without.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend-drivers/common/privileges.hpp"

namespace domus::backend {
namespace {

std::string status(const std::string& name) {
    std::ifstream in("/proc/self/status");
    std::string key, value;
    while (in >> key) {
        std::getline(in >> std::ws, value);
        if (key == name + ":") {
            return value;
        }
    }
    return {};
}

template <class Work>
std::string complaint(Work work) {
    try {
        work();
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return {};
}

TEST(Privileges, NothingIsLeftAndNothingComesBack) {
    EXPECT_EXIT(
        {
            keep_only({});
            const bool none = status("CapEff") == "0000000000000000" && status("CapPrm") == "0000000000000000";
            std::_Exit(none && status("NoNewPrivs") == "1" ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST(Privileges, AUserWhoIsNotThereIsAskedFor) {
    EXPECT_EQ(find_user("root").uid, 0u);
    EXPECT_NE(find_user("nobody").uid, 0u);
    EXPECT_THAT(complaint([] { find_user("domus-no-such"); }),
                testing::AllOf(testing::HasSubstr("there is no user domus-no-such"), testing::HasSubstr("adduser")));
}

struct BecomeTest : testing::Test {
    std::string folder = testing::TempDir() + "domus-privileges-" + std::to_string(::getpid());
    User nobody = find_user("nobody");

    BecomeTest() { std::filesystem::create_directory(folder); }
    ~BecomeTest() override { std::filesystem::remove_all(folder); }
    void SetUp() override {
        if (::geteuid() != 0) {
            GTEST_SKIP() << "only root can become somebody else";
        }
    }
    /// A child becomes nobody with these rights; its status is the number of the first check that failed, or 0.
    template <class Check>
    void in_child(const std::vector<unsigned>& rights, Check check) {
        const auto child = [&] {
            const gid_t more[] = {0, 4};
            if (::setgroups(2, more) != 0) {
                return 99;
            }
            become(nobody, rights);
            return check();
        };
        EXPECT_EXIT(std::_Exit(child()), testing::ExitedWithCode(0), "");
    }
};

bool refused(long result, int expected) {
    return result == -1 && errno == expected;
}

TEST_F(BecomeTest, NothingOfRootIsLeft) {
    const std::string secret = folder + "/secret", own = folder + "/own";
    std::ofstream(secret) << "root's";
    ASSERT_EQ(::chmod(secret.c_str(), 0600), 0);
    make_folder(own, nobody);
    in_child({}, [&] {
        const auto four_times = [](unsigned id) {
            const auto one = std::to_string(id);
            return one + "\t" + one + "\t" + one + "\t" + one;
        };
        return status("Uid") != four_times(nobody.uid)                                   ? 1
               : status("Gid") != four_times(nobody.gid)                                 ? 2
               : ::getgroups(0, nullptr) != 0                                            ? 3
               : status("CapEff") + status("CapPrm") != std::string(32, '0')             ? 4
               : !refused(::open(secret.c_str(), O_RDONLY), EACCES)                      ? 5
               : !refused(::open((folder + "/new").c_str(), O_WRONLY | O_CREAT), EACCES) ? 6
               : !refused(::unlink(secret.c_str()), EACCES)                              ? 7
               : !refused(::chown(own.c_str(), 0, 0), EPERM)                             ? 8
               : !refused(::setuid(0), EPERM)                                            ? 9
               : !refused(::seteuid(0), EPERM)                                           ? 10
               : !refused(::setgid(0), EPERM)                                            ? 11
               : !refused(::setgroups(0, nullptr), EPERM)                                ? 12
               : ::open((own + "/new").c_str(), O_WRONLY | O_CREAT, 0600) < 0            ? 13
                                                                                         : 0;
    });
}

TEST_F(BecomeTest, TheRightThatWasAskedForIsThereAndNoOther) {
    in_child({CAP_NET_ADMIN}, [] {
        const std::string only = "0000000000001000";
        ifreq request{};
        std::strcpy(request.ifr_name, "no-such-if");
        const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
        // With the right, the kernel looks for the interface; without, it does not.
        return status("CapEff") != only || status("CapPrm") != only || status("CapAmb") != std::string(16, '0') ? 1
               : !refused(::ioctl(socket, SIOCSIFFLAGS, &request), ENODEV)                                      ? 2
               : !refused(::open("/etc/shadow", O_RDONLY), EACCES)                                              ? 3
               : !refused(::setuid(0), EPERM)                                                                   ? 4
                                                                                                                : 0;
    });
    in_child({}, [] {
        ifreq request{};
        std::strcpy(request.ifr_name, "no-such-if");
        const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
        return !refused(::ioctl(socket, SIOCSIFFLAGS, &request), EPERM) ? 1 : 0;
    });
}

TEST_F(BecomeTest, AFolderIsMadeForTheUserAndNoOtherIsTaken) {
    const std::string made = folder + "/a/b";
    make_folder(made, nobody);
    struct stat info {};
    ASSERT_EQ(::stat(made.c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, nobody.uid);
    EXPECT_EQ(info.st_gid, nobody.gid);
    EXPECT_EQ(info.st_mode & 0022u, 0u) << "nobody else writes there";
    ASSERT_EQ(::stat((folder + "/a").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 0u) << "what is above it stays root's";
    EXPECT_EQ(complaint([&] { make_folder(made, nobody); }), "") << "a later process finds it";
    EXPECT_EQ(complaint([&] { make_folder(made, find_user("root")); }), "");

    EXPECT_THAT(complaint([&] { make_folder(folder, nobody); }), testing::HasSubstr("chown -R nobody: " + folder));
    ASSERT_EQ(::stat(folder.c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 0u) << "it may be /etc";
    std::filesystem::create_symlink("/etc", folder + "/link");
    EXPECT_THAT(complaint([&] { make_folder(folder + "/link", nobody); }), testing::HasSubstr("is not a folder"));
    std::ofstream(folder + "/file") << "";
    EXPECT_THAT(complaint([&] { make_folder(folder + "/file", nobody); }), testing::HasSubstr("is not a folder"));
}

} // namespace
} // namespace domus::backend
