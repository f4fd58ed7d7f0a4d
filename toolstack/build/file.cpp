// See file.hpp.
#include "toolstack/build/file.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "toolstack/build/build.hpp"

namespace domus::build {

File::~File() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

Memory Memory::anonymous(std::size_t bytes) {
    Memory memory;
    const std::size_t size = std::max<std::size_t>(bytes, 1);
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        throw Error(fmt::format("cannot get {} MiB of memory in dom0 to unpack the kernel: {}; give dom0 more memory",
                                size >> 20, ::strerror(errno)));
    }
    memory.data_ = static_cast<std::uint8_t*>(data);
    memory.size_ = size;
    return memory;
}

Memory Memory::of_file(const File& file, std::size_t bytes, bool writable) {
    Memory memory;
    // All at once: one page fault per 4 KiB would cost more than copying it.
    void* data =
        ::mmap(nullptr, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_POPULATE, file.get(), 0);
    if (data != MAP_FAILED) {
        memory.data_ = static_cast<std::uint8_t*>(data);
        memory.size_ = bytes;
    }
    return memory;
}

Memory::~Memory() {
    if (data_) {
        ::munmap(data_, size_);
    }
}

File open_input(const std::string& path, const char* role, struct stat& status) {
    // Not blocking: a FIFO in place of a kernel must not stop the daemon.
    File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file || ::fstat(file.get(), &status) != 0) {
        throw Error(
            fmt::format("cannot open {} {}: {}; check the path in the configuration", role, path, ::strerror(errno)));
    }
    if (!S_ISREG(status.st_mode)) {
        throw Error(fmt::format("{} {} is not a file", role, path));
    }
    if (status.st_size == 0) {
        throw Error(fmt::format("{} {} is empty", role, path));
    }
    return file;
}

void read_whole(const File& file, std::span<std::uint8_t> out, const std::string& path) {
    for (std::size_t done = 0; done < out.size();) {
        const ssize_t got = ::pread(file.get(), out.data() + done, out.size() - done, static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            throw Error(fmt::format("cannot read {} at byte {}: {}", path, done,
                                    got < 0 ? ::strerror(errno) : "the file became shorter while it was read"));
        }
        done += static_cast<std::size_t>(got);
    }
}

} // namespace domus::build
