// See guest_log.hpp.
#include "backend-drivers/console/guest_log.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace domus::console {

std::string log_file_name(std::string_view guest_name, std::uint16_t domid) {
    constexpr std::size_t longest = 200; // file systems take 255 with the endings
    std::string safe;
    for (const char c : guest_name.substr(0, longest)) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '_' || c == '+' || (c == '.' && !safe.empty());
        safe += plain ? c : '_';
    }
    if (safe.empty()) {
        safe = "domain-" + std::to_string(domid);
    }
    return safe + ".log";
}

GuestLog::GuestLog(std::string path, std::uint64_t limit) : path_(std::move(path)), limit_(limit) {}

GuestLog::GuestLog(GuestLog&& other) noexcept {
    swap(other);
}

GuestLog& GuestLog::operator=(GuestLog&& other) noexcept {
    swap(other);
    return *this;
}

GuestLog::~GuestLog() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

void GuestLog::swap(GuestLog& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(limit_, other.limit_);
    std::swap(size_, other.size_);
    std::swap(descriptor_, other.descriptor_);
}

bool GuestLog::open() {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    struct stat status {};
    if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
        return false;
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
    return true;
}

bool GuestLog::add(std::string_view bytes) {
    if (path_.empty() || (descriptor_ < 0 && !open())) {
        return path_.empty();
    }
    if (size_ + bytes.size() > limit_ && size_ != 0) {
        ::close(std::exchange(descriptor_, -1));
        if (::rename(path_.c_str(), (path_ + ".1").c_str()) != 0 || !open()) {
            return false;
        }
    }
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(descriptor_, bytes.data(), bytes.size());
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            ::close(std::exchange(descriptor_, -1));
            return false;
        }
        size_ += static_cast<std::uint64_t>(wrote);
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return true;
}

} // namespace domus::console
