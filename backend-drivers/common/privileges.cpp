// See privileges.hpp; capabilities(7), credentials(7), and "no new privileges" of prctl(2).
#include "backend-drivers/common/privileges.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace domus::backend {
namespace {

[[noreturn]] void fail(const std::string& doing) {
    throw std::runtime_error(fmt::format("{}: {}", doing, std::strerror(errno)));
}

} // namespace

User find_user(const std::string& name) {
    errno = 0;
    const passwd* const found = ::getpwnam(name.c_str());
    if (found == nullptr) {
        throw std::runtime_error(fmt::format(
            "there is no user {0}, who this daemon is to run as (adduser --system --group --no-create-home {0}); "
            "--user NAME takes another one, --user root keeps root's files in its reach",
            name));
    }
    return {name, found->pw_uid, found->pw_gid};
}

void make_folder(const std::string& path, const User& user) {
    if (const std::filesystem::path above = std::filesystem::path(path).parent_path(); !above.empty()) {
        std::filesystem::create_directories(above);
    }
    if (::mkdir(path.c_str(), 0755) != 0) {
        if (errno != EEXIST) {
            fail("making the folder " + path);
        }
    } else if (::geteuid() == 0 && ::lchown(path.c_str(), user.uid, user.gid) != 0) {
        fail("giving the folder " + path + " to " + user.name);
    }
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
        throw std::runtime_error(path + " is not a folder");
    }
    if (info.st_uid != user.uid && user.uid != 0) {
        throw std::runtime_error(fmt::format("the folder {0} is not the user {1}'s, who writes there: "
                                             "chown -R {1}: {0}, or name another folder",
                                             path, user.name));
    }
}

void become(const User& user, const std::vector<unsigned>& capabilities) {
    if (::geteuid() != user.uid) {
        // The rights outlive the change of user, to be cut down to those wanted just below.
        if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || ::setgroups(0, nullptr) != 0 ||
            ::setresgid(user.gid, user.gid, user.gid) != 0 || ::setresuid(user.uid, user.uid, user.uid) != 0 ||
            ::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) {
            fail("becoming the user " + user.name);
        }
    }
    keep_only(capabilities);
}

void keep_only(const std::vector<unsigned>& capabilities) {
    std::uint64_t wanted = 0;
    for (const unsigned capability : capabilities) {
        wanted |= std::uint64_t{1} << capability;
    }
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct halves[_LINUX_CAPABILITY_U32S_3] = {};
    for (auto& half : halves) {
        half.effective = half.permitted = static_cast<std::uint32_t>(wanted);
        wanted >>= 32;
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::syscall(SYS_capset, &header, halves) != 0) {
        fail("giving up root's rights");
    }
}

} // namespace domus::backend
