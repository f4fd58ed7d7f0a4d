// Typed hypercall memory: an array the hypervisor can read and write while it works. Owner: the caller's scope.
#pragma once

#include <memory>
#include <span>
#include <type_traits>

#include "hypervisor/client/raw.hpp"

namespace domus::client {

/// `count` zeroed objects of a plain structure, visible to the hypervisor for the life of the buffer.
template <class T>
class Buffer {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    explicit Buffer(std::shared_ptr<Raw> raw, std::size_t count = 1)
        : raw_(std::move(raw)), count_(count), data_(static_cast<T*>(raw_->allocate(bytes()))) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { raw_->release(data_, bytes()); }

    T* operator->() { return data_; }
    T& operator*() { return *data_; }
    T& operator[](std::size_t i) { return data_[i]; }
    T* data() { return data_; }
    std::span<T> span() { return {data_, count_}; }
    std::size_t size() const { return count_; }
    /// The address, as hypercall arguments carry it.
    std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(data_); }

private:
    std::size_t bytes() const { return sizeof(T) * (count_ ? count_ : 1); }

    std::shared_ptr<Raw> raw_;
    std::size_t count_;
    T* data_;
};

} // namespace domus::client
