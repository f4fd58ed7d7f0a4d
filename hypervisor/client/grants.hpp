// The seam through which a backend reaches memory that a guest granted: map, unmap and copy, each for many pages at
// once. Together with RawEventChannels (event_channels.hpp) it is all that a backend knows of the hypervisor.
// Owner: a daemon, one per process, shared by its devices. Lock: none, one thread.
// open_grants() stands on /dev/xen/gntdev; hosted tests put a fake or the real core's grant tables here.
// What is behind a mapping is shared with a guest: copy once, then judge the copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "hypervisor/client/raw.hpp"

namespace domus::client {

/// One piece of a granted page to or from this process' memory. A piece does not cross a page of either side.
struct GrantCopy {
    std::uint32_t reference = 0;
    std::uint16_t offset = 0; ///< in the granted page
    std::uint16_t length = 0;
    void* local = nullptr;
    bool to_guest = false;
    std::int16_t status = 0; ///< answer: 0 (GNTST_okay), or a negative GNTST_* of xen/grant_table.h
};

class Grants {
public:
    virtual ~Grants() = default;

    /// Maps granted pages side by side, all or none. Throws Error: the domain granted no such page to this one, or
    /// not for writing.
    virtual void* map(std::uint16_t domid, std::span<const std::uint32_t> references, bool writable) = 0;
    /// `address` and `pages` as map() was asked.
    virtual void unmap(void* address, std::size_t pages) noexcept = 0;
    /// Carries out all pieces; each gets its status. Throws Error only when none was tried.
    virtual void copy(std::uint16_t domid, std::span<GrantCopy> pieces) = 0;

    /// Page-aligned memory, all zero, for the local side of copy(). From a real kernel it is memory that this domain
    /// granted to itself, as far as there is some: then the kernel does not look this process' page tables up for each
    /// piece. Throws std::bad_alloc.
    virtual void* allocate(std::size_t pages) {
        void* memory = std::aligned_alloc(page_size, pages * page_size);
        if (!memory) {
            throw std::bad_alloc();
        }
        return std::memset(memory, 0, pages * page_size);
    }
    virtual void release(void* memory, std::size_t) noexcept { std::free(memory); }
    /// While this process is root: opens what allocate() needs.
    virtual void open_own_memory() {}
    /// This process' own domain, once it is known. Before that allocate() gives memory as any.
    virtual void set_own_domain(std::uint16_t) {}
};

/// Throws Error when this is no domain of a Xen-compatible hypervisor, or the module xen-gntdev is not there.
std::shared_ptr<Grants> open_grants();

/// Pages another domain granted, side by side, until destroyed.
class GrantMap {
public:
    GrantMap() = default;
    GrantMap(std::shared_ptr<Grants> grants, std::uint16_t domid, std::span<const std::uint32_t> references,
             bool writable = true)
        : grants_(std::move(grants)), address_(grants_->map(domid, references, writable)), pages_(references.size()) {}
    GrantMap(GrantMap&& other) noexcept { swap(other); }
    GrantMap& operator=(GrantMap&& other) noexcept {
        GrantMap(std::move(other)).swap(*this);
        return *this;
    }
    ~GrantMap() { reset(); }

    void reset() noexcept {
        if (address_) {
            grants_->unmap(std::exchange(address_, nullptr), std::exchange(pages_, 0));
        }
        grants_.reset();
    }
    std::uint8_t* data() const { return static_cast<std::uint8_t*>(address_); }
    std::size_t size() const { return pages_ * page_size; }
    template <class T>
    T* as(std::size_t offset = 0) const {
        return reinterpret_cast<T*>(data() + offset);
    }
    explicit operator bool() const { return address_ != nullptr; }

private:
    void swap(GrantMap& other) noexcept {
        std::swap(grants_, other.grants_);
        std::swap(address_, other.address_);
        std::swap(pages_, other.pages_);
    }

    std::shared_ptr<Grants> grants_;
    void* address_ = nullptr;
    std::size_t pages_ = 0;
};

} // namespace domus::client
