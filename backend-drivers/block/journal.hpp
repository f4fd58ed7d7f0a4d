// The one request of each queue whose response is being written: a process killed between writing a response and
// showing it has overwritten the request in its ring slot, and the next process needs it. Owner: a disk. No lock: one
// writer. A small file in tmpfs, mapped, so that what was stored is there whatever ends the process.
// Order of stores is program order; a killed process has made a beginning of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backend-drivers/block/request.hpp"

namespace domus::block {

inline constexpr unsigned most_queues = 4;

class Journal {
public:
    enum class From { Nothing, Earlier };
    /// A new journal, or the one an earlier process wrote. Throws std::runtime_error: it cannot be made, or is not
    /// there.
    Journal(const std::string& path, From from);
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;
    ~Journal();

    /// Before the response at `index` is written.
    void answering(unsigned queue, std::uint32_t index, const blkif_request_t& request);
    /// The request at `index`, if its response was being written.
    std::optional<blkif_request_t> at(unsigned queue, std::uint32_t index) const;

private:
    struct Entry {
        std::uint32_t index;
        std::uint32_t valid;
        blkif_request_t request;
    };
    struct Page {
        std::uint64_t magic;
        Entry entries[most_queues];
    };
    Page* page_ = nullptr;
};

} // namespace domus::block
