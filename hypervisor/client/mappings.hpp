// Mappings of another domain's memory by frame number (privileged) that undo themselves; by grant: grants.hpp.
// Owner: whoever holds the object. What is behind them is shared with a guest: copy once, then judge the copy.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hypervisor/client/raw.hpp"

namespace domus::client {

/// Frames of a domain, side by side in this address space, until destroyed. Throws Error naming the first frame
/// that could not be mapped; nothing stays mapped then.
class ForeignMap {
public:
    ForeignMap() = default;
    ForeignMap(std::shared_ptr<Raw> raw, std::uint16_t domid, std::span<const std::uint64_t> frames,
               bool writable = true);
    ForeignMap(ForeignMap&& other) noexcept { swap(other); }
    ForeignMap& operator=(ForeignMap&& other) noexcept {
        ForeignMap(std::move(other)).swap(*this);
        return *this;
    }
    ~ForeignMap() { reset(); }

    void reset() noexcept;
    std::uint8_t* data() const { return static_cast<std::uint8_t*>(address_); }
    std::size_t size() const { return pages_ * page_size; }
    template <class T>
    T* as(std::size_t offset = 0) const {
        return reinterpret_cast<T*>(data() + offset);
    }
    explicit operator bool() const { return address_ != nullptr; }

private:
    void swap(ForeignMap& other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(address_, other.address_);
        std::swap(pages_, other.pages_);
    }

    std::shared_ptr<Raw> raw_;
    void* address_ = nullptr;
    std::size_t pages_ = 0;
};

} // namespace domus::client
