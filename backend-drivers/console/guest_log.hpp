// The log of one guest's console: NAME.log in the log folder, with one older part NAME.log.1, bounded in size.
// Owner: Guest. No lock. It holds what the guest sent, unchanged: it may contain escape sequences, view it with less.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace domus::console {

/// A file name from a guest's name: bytes that could leave the folder or hide the file become '_'.
std::string log_file_name(std::string_view guest_name, std::uint16_t domid);

class GuestLog {
public:
    GuestLog() = default;
    /// Appends to `path`; when it would pass `limit` bytes it becomes `path`.1 and a new one is begun.
    GuestLog(std::string path, std::uint64_t limit);
    GuestLog(GuestLog&& other) noexcept;
    GuestLog& operator=(GuestLog&& other) noexcept;
    ~GuestLog();

    /// False when the bytes could not be kept (disk full, folder gone); errno says why. Tried anew every time.
    bool add(std::string_view bytes);

private:
    bool open();
    void swap(GuestLog& other) noexcept;

    std::string path_;
    std::uint64_t limit_ = 0, size_ = 0;
    int descriptor_ = -1;
};

} // namespace domus::console
