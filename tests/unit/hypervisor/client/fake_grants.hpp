// Granted pages without a hypervisor: a guest's memory is a memfd, grant reference N its page N, so that mappings are
// as shared and as revocable as real ones. Counts what is mapped. Test code.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <span>

#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/client/error.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::client::test {

class FakeGrants : public Grants {
public:
    explicit FakeGrants(std::size_t pages = 4096)
        : memory_(::memfd_create("guest", MFD_CLOEXEC)), size_(pages * page_size) {
        if (::ftruncate(memory_, static_cast<off_t>(size_)) != 0) {
            throw Error("guest memory", std::nullopt, errno);
        }
        guest_ = static_cast<std::uint8_t*>(::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0));
    }
    FakeGrants(const FakeGrants&) = delete;
    FakeGrants& operator=(const FakeGrants&) = delete;
    ~FakeGrants() override {
        ::munmap(guest_, size_);
        ::close(memory_);
    }

    // The guest's side.
    std::uint8_t* page(std::uint32_t reference) { return guest_ + reference * page_size; }
    void grant(std::uint32_t reference, bool writable = true) { granted[reference] = writable; }
    void revoke(std::uint32_t reference) { granted.erase(reference); }

    std::map<std::uint32_t, bool> granted; ///< reference, writable
    std::size_t mapped = 0;                ///< pages mapped now
    unsigned maps = 0, copies = 0;         ///< calls

    void* map(std::uint16_t domid, std::span<const std::uint32_t> references, bool writable) override {
        for (const auto reference : references) {
            if (!allowed(reference, writable)) {
                throw Error("map grant " + std::to_string(reference), domid, EINVAL);
            }
        }
        ++maps;
        auto* area = static_cast<std::uint8_t*>(
            ::mmap(nullptr, references.size() * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (std::size_t i = 0; i < references.size(); ++i) {
            ::mmap(area + i * page_size, page_size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_FIXED,
                   memory_, static_cast<off_t>(references[i] * page_size));
        }
        mapped += references.size();
        return area;
    }

    void unmap(void* address, std::size_t pages) noexcept override {
        ::munmap(address, pages * page_size);
        mapped -= pages;
    }

    /// The caller's own memory that is not there when it is touched.
    std::span<std::uint8_t> gone;

    void copy(std::uint16_t domid, std::span<GrantCopy> pieces) override {
        ++copies;
        for (auto& piece : pieces) {
            const auto* local = static_cast<std::uint8_t*>(piece.local);
            if (!gone.empty() && local >= gone.data() && local < gone.data() + gone.size()) {
                throw Error("copy granted pages", domid, EFAULT);
            }
            if (!allowed(piece.reference, piece.to_guest) || piece.offset + piece.length > page_size) {
                piece.status = -3; // GNTST_bad_gntref
                continue;
            }
            auto* there = page(piece.reference) + piece.offset;
            std::memcpy(piece.to_guest ? there : piece.local, piece.to_guest ? piece.local : there, piece.length);
            piece.status = 0;
        }
    }

private:
    bool allowed(std::uint32_t reference, bool writable) const {
        const auto found = granted.find(reference);
        return found != granted.end() && (found->second || !writable) && reference < size_ / page_size;
    }

    int memory_;
    std::size_t size_;
    std::uint8_t* guest_;
};

} // namespace domus::client::test
