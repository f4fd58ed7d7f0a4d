// The seam below the typed client: raw hypercalls, memory the hypervisor can reach, foreign mappings. The real one
// stands on libxencall and libxenforeignmemory; tests put a recording fake here. Not for use above hypervisor/client.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace domus::client {

inline constexpr std::size_t page_size = 4096;

/// What the client needs from below. No locking: one thread uses it.
class Raw {
public:
    virtual ~Raw() = default;

    /// Makes hypercall `op` (xen.h: __HYPERVISOR_*). Returns the hypervisor's answer, or a negative errno.
    virtual long hypercall(unsigned op, const std::array<std::uint64_t, 5>& arguments) = 0;

    /// Memory that stays resident while a hypercall reads or writes it; zeroed. Throws Error.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void release(void* memory, std::size_t bytes) noexcept = 0;

    /// Maps frames of another domain side by side. `errors` (as long as `frames`) gets 0 or a negative errno for each.
    /// Returns nullptr with errno set when nothing could be mapped.
    virtual void* map_foreign(std::uint16_t domid, int protection, std::span<const std::uint64_t> frames,
                              std::span<int> errors) = 0;
    virtual void unmap_foreign(void* address, std::size_t pages) noexcept = 0;
};

/// The real seam: /dev/xen/privcmd and /dev/xen/hypercall. Throws Error when this is not a privileged domain.
std::shared_ptr<Raw> open_raw();

} // namespace domus::client
