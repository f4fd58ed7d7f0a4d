// Granted pages of one guest that stay mapped, by reference, in front of the process' Grants: a copy from or to one of
// them is a memcpy here and no call to the kernel; what is not mapped is copied as ever. So nothing breaks where a
// frontend believes a page to be mapped that is not (an earlier process had it).
// Owner: a queue. Lock: none, one thread. Bounded, each table and all of a process together: a mapping costs dom0
// address space, and one process may have 65 530 in all (vm.max_map_count), rings of other guests among them. The guest
// can write to the pages at any time and may take the grants back: a mapping then shows what was its page.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend-drivers/common/stats.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::backend {

/// Pages that all tables of a process may keep mapped.
inline constexpr std::size_t most_mapped_in_all = 16384;

class MappedGrants final : public client::Grants {
public:
    struct Figures {
        Stats::Value pages{};                  ///< mapped here
        Stats::Value held{};                   ///< the device's, of whatever kind: goes up and down with them
        Stats::Value from_guest{}, to_guest{}; ///< pieces that were moved through a mapping
    };

    MappedGrants(std::shared_ptr<client::Grants> grants, std::uint16_t domid, std::size_t most, Figures figures)
        : grants_(std::move(grants)), domid_(domid), most_(most), figures_(figures) {}
    MappedGrants(const MappedGrants&) = delete;
    MappedGrants& operator=(const MappedGrants&) = delete;
    ~MappedGrants() override { in_all_ -= size(); }

    std::size_t size() const { return references_.size(); }
    std::size_t most() const { return most_; }
    /// How many more may be kept now.
    std::size_t room() const { return std::min(most_ - size(), most_mapped_in_all - in_all_); }
    bool has(std::uint32_t reference) const { return find(reference) != nullptr; }
    /// Keeps a page mapped; only when there is room and it is not. Throws client::Error: there is no such grant, or
    /// not for writing.
    void add(std::uint32_t reference, bool writable);
    /// False: it was not mapped.
    bool remove(std::uint32_t reference);
    void clear();

    void* map(std::uint16_t domid, std::span<const std::uint32_t> references, bool writable) override {
        return grants_->map(domid, references, writable);
    }
    void unmap(void* address, std::size_t pages) noexcept override { grants_->unmap(address, pages); }
    /// In the order of the pieces where both are moved the same way, not otherwise.
    void copy(std::uint16_t domid, std::span<client::GrantCopy> pieces) override;
    void* allocate(std::size_t pages) override { return grants_->allocate(pages); }
    void release(void* memory, std::size_t pages) noexcept override { grants_->release(memory, pages); }

private:
    struct Page {
        client::GrantMap map;
        bool writable;
    };

    std::size_t place(std::uint32_t reference) const;
    const Page* find(std::uint32_t reference) const;
    bool move(client::GrantCopy& piece);
    void note();

    static inline std::size_t in_all_ = 0; ///< mapped by all tables of this process
    std::shared_ptr<client::Grants> grants_;
    std::uint16_t domid_;
    std::size_t most_;
    Figures figures_;
    std::vector<std::uint32_t> references_; ///< sorted: a guest that chooses them makes no lookup slow
    std::vector<Page> pages_;               ///< in the same order
    std::vector<client::GrantCopy> others_; ///< of one copy(): those that are not mapped
};

} // namespace domus::backend
