// Persistent grants of one ring (feature-persistent of xen/io/blkif.h): pages that the frontend uses again and again
// stay mapped, by grant reference. Owner: a Queue. No lock, one io_context. Bounded: by what a ring can have in use,
// and by the room that all rings of a process share. Pages are mapped and unmapped in groups, all that were new in a
// batch at once; the group that was not used for longest goes first, never one that is held. Always for writing, as the
// protocol says; a page that cannot be mapped so is copied instead. A frontend that gives other pages each time, or
// such that cannot be mapped, has its grants copied from then on. What a reference meant when it was mapped it means
// until it is unmapped: a guest that revokes it and grants another page by it meanwhile goes on with the old one, which
// stays its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backend-drivers/common/stats.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::block {

/// Pages that one ring keeps, for each of its entries: Linux's frontends use so many (32 segments and their list).
inline constexpr std::size_t persistent_per_entry = 33;
/// Calls to map that may fail before no more are made.
inline constexpr unsigned most_failed_maps = 8;

class PersistentGrants {
    struct Group {
        client::GrantMap map;
        std::vector<std::uint32_t> references;
        std::size_t holds = 0;
    };

public:
    /// Pages that all rings of a process may still map.
    using Room = std::shared_ptr<std::size_t>;

    /// A page that stays mapped while this lives. Ends before the PersistentGrants it came from.
    class Hold {
    public:
        Hold() = default;
        Hold(Hold&& other) noexcept
            : group_(std::exchange(other.group_, nullptr)), page_(std::exchange(other.page_, nullptr)) {}
        Hold& operator=(Hold&& other) noexcept {
            std::swap(group_, other.group_);
            std::swap(page_, other.page_);
            return *this;
        }
        ~Hold() {
            if (group_ != nullptr) {
                --group_->holds;
            }
        }
        std::uint8_t* page() const { return page_; }
        explicit operator bool() const { return group_ != nullptr; }

    private:
        friend class PersistentGrants;
        Hold(Group& group, std::uint8_t* page) : group_(&group), page_(page) { ++group.holds; }
        Group* group_ = nullptr;
        std::uint8_t* page_ = nullptr;
    };

    /// `mapped`: a figure to which the pages kept are added.
    PersistentGrants(std::shared_ptr<client::Grants> grants, std::uint16_t domid, std::size_t limit, Room room,
                     backend::Stats::Value mapped);
    PersistentGrants(const PersistentGrants&) = delete;
    PersistentGrants& operator=(const PersistentGrants&) = delete;
    ~PersistentGrants();

    /// Empty: that page is not mapped.
    Hold hold(std::uint32_t reference);
    /// Maps what was not found, as far as it may and can; to be held then before the next call.
    void keep(std::vector<std::uint32_t>& references);
    /// Unmaps all that is not held.
    void clear();

    std::size_t mapped() const { return pages_.size(); }
    /// Whether it has found the frontend not to use its grants again.
    bool given_up() const { return given_up_; }

private:
    using Groups = std::list<Group>;
    struct Page {
        Groups::iterator group;
        std::uint8_t* address;
    };

    bool make_room(std::size_t pages);
    void map(std::span<const std::uint32_t> references);
    Groups::iterator unmap(Groups::iterator group);
    void give_up();

    std::shared_ptr<client::Grants> grants_;
    const std::uint16_t domid_;
    const std::size_t limit_;
    Room room_;
    backend::Stats::Value mapped_;
    Groups groups_; ///< the one used last comes first
    std::unordered_map<std::uint32_t, Page> pages_;
    std::size_t uses_ = 0, evicted_ = 0; ///< since the last look at whether it is worth while
    unsigned failures_ = 0;
    bool given_up_ = false;
};

} // namespace domus::block
