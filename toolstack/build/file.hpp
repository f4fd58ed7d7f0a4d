// Files and memory of the builder that undo themselves: descriptors, mappings, whole reads. No lock; values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <sys/stat.h>

namespace domus::build {

/// An open file.
class File {
public:
    explicit File(int descriptor = -1) : descriptor_(descriptor) {}
    File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    File& operator=(File&& other) noexcept {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    ~File();
    int get() const { return descriptor_; }
    explicit operator bool() const { return descriptor_ >= 0; }

private:
    int descriptor_;
};

/// Memory of mmap: anonymous, or of a file.
class Memory {
public:
    Memory() = default;
    /// Zeroed memory. Throws build::Error when there is none.
    static Memory anonymous(std::size_t bytes);
    /// A file's first bytes; empty when the file system cannot map it.
    static Memory of_file(const File& file, std::size_t bytes, bool writable);
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Memory();
    std::span<std::uint8_t> span() const { return {data_, size_}; }
    explicit operator bool() const { return data_ != nullptr; }

private:
    void swap(Memory& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Opens an input file. Throws build::Error naming `role` ("kernel"), the path and what to do.
File open_input(const std::string& path, const char* role, struct stat& status);

/// Reads exactly `out` bytes from the start. Throws build::Error when the file is shorter or unreadable.
void read_whole(const File& file, std::span<std::uint8_t> out, const std::string& path);

} // namespace domus::build
