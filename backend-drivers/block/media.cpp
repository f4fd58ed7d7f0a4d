// See media.hpp.
#include "backend-drivers/block/media.hpp"

#include <cerrno>
#include <cstdlib>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend-drivers/block/nbd_uri.hpp"

namespace domus::block {
namespace {

/// Whether single sectors can be read past the page cache: a medium with larger sectors, or a file system on one,
/// refuses them, and guests write single sectors.
bool takes_sectors(int file) {
    void* page = std::aligned_alloc(page_size, page_size);
    const bool good = page != nullptr && ::pread(file, page, sector_size, sector_size) >= 0;
    std::free(page);
    return good;
}

client::Descriptor open_best(const std::string& path, bool read_only, bool device) {
    const int mode = (read_only ? O_RDONLY : O_RDWR | (device ? O_EXCL : 0)) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    client::Descriptor direct(::open(path.c_str(), mode | O_DIRECT));
    if (direct && takes_sectors(direct.get())) {
        return direct;
    }
    direct = client::Descriptor(); // before it is opened again: O_EXCL counts this one too
    return client::Descriptor(::open(path.c_str(), mode));
}

bool is_medium(const struct stat& info) {
    return S_ISREG(info.st_mode) || S_ISBLK(info.st_mode);
}

Opened refusal(int error, std::string why = {}) {
    return {client::Descriptor(), error, std::move(why)};
}

} // namespace

Opened open_medium(const std::string& path, bool read_only) {
    constexpr const char* other = "is neither a block device nor an image file";
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        return refusal(errno);
    }
    if (!is_medium(info)) { // some devices do something when they are opened
        return refusal(EINVAL, other);
    }
    auto medium = open_best(path, read_only, S_ISBLK(info.st_mode));
    if (!medium) {
        return refusal(errno);
    }
    if (::fstat(medium.get(), &info) != 0 || !is_medium(info)) { // replaced in between
        return refusal(EINVAL, other);
    }
    return {std::move(medium), 0, {}};
}

Opened connect_socket(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return refusal(ENAMETOOLONG);
    }
    path.copy(address.sun_path, path.size());
    client::Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return refusal(errno);
    }
    return {std::move(socket), 0, {}};
}

Opened open_target(const std::string& target, bool read_only) {
    if (const auto server = local_server(target)) {
        return connect_socket(server->socket);
    }
    if (is_nbd(target)) {
        return refusal(EINVAL, "is a server that takes no rights to connect to");
    }
    return open_medium(target, read_only);
}

boost::asio::awaitable<Opened> OwnOpener::open(Spec spec) {
    co_return open_target(spec.path, spec.read_only);
}

} // namespace domus::block
