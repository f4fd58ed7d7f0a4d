// A file in memory (tmpfs), mapped, so that the hypervisor copies between its pages and the guest's and nobody copies
// between. Owner: a disk's storage. No lock, one io_context. This process never touches the mapping itself, which would
// kill it where the file has become shorter: only calls of the kernel do, which then fail.
#pragma once

#include <cstdint>
#include <vector>

namespace domus::block {

class MappedFile {
public:
    /// Where it cannot be mapped, bytes() is never there.
    MappedFile(int file, std::uint64_t length, bool read_only);
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile();

    /// Null where the file has holes: touching one would take memory, also for reading, and may find none.
    std::uint8_t* bytes(std::uint64_t offset, std::uint64_t length);
    /// Holes are about to be made there.
    void forget(std::uint64_t offset, std::uint64_t length);

private:
    bool look(std::uint64_t first, std::uint64_t end);

    std::uint64_t length_;
    std::uint8_t* memory_ = nullptr;
    std::vector<bool> there_; ///< pages that were seen to be no holes
};

} // namespace domus::block
