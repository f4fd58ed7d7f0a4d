// Foreign mappings. See mappings.hpp.
#include "hypervisor/client/mappings.hpp"

#include <cerrno>
#include <sys/mman.h>

#include <fmt/format.h>

#include "hypervisor/client/error.hpp"

namespace domus::client {

ForeignMap::ForeignMap(std::shared_ptr<Raw> raw, std::uint16_t domid, std::span<const std::uint64_t> frames,
                       bool writable)
    : raw_(std::move(raw)), pages_(frames.size()) {
    if (frames.empty()) {
        return;
    }
    std::vector<int> errors(frames.size());
    errno = 0;
    address_ = raw_->map_foreign(domid, PROT_READ | (writable ? PROT_WRITE : 0), frames, errors);
    if (!address_) {
        throw Error(fmt::format("map {} frames from mfn {:#x}", frames.size(), frames[0]), domid,
                    errno ? errno : EINVAL);
    }
    for (std::size_t i = 0; i < errors.size(); ++i) {
        if (errors[i] != 0) {
            reset();
            throw Error(fmt::format("map mfn {:#x}", frames[i]), domid, errors[i] < 0 ? -errors[i] : errors[i]);
        }
    }
}

void ForeignMap::reset() noexcept {
    if (address_) {
        raw_->unmap_foreign(address_, pages_);
    }
    address_ = nullptr;
    pages_ = 0;
    raw_.reset();
}

} // namespace domus::client
