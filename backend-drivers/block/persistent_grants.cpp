// See persistent_grants.hpp.
#include "backend-drivers/block/persistent_grants.hpp"

#include <algorithm>

#include <spdlog/spdlog.h>

#include "hypervisor/client/error.hpp"

namespace domus::block {

PersistentGrants::PersistentGrants(std::shared_ptr<client::Grants> grants, std::uint16_t domid, std::size_t limit,
                                   Room room, backend::Stats::Value mapped)
    : grants_(std::move(grants)), domid_(domid), limit_(limit), room_(std::move(room)), mapped_(mapped) {}

PersistentGrants::~PersistentGrants() {
    while (!groups_.empty()) {
        unmap(groups_.begin());
    }
}

PersistentGrants::Hold PersistentGrants::hold(std::uint32_t reference) {
    const auto found = given_up_ ? pages_.end() : pages_.find(reference);
    if (found == pages_.end()) {
        return {};
    }
    const auto group = found->second.group;
    groups_.splice(groups_.begin(), groups_, group);
    ++uses_;
    return Hold(*group, found->second.address);
}

void PersistentGrants::keep(std::vector<std::uint32_t>& references) {
    if (given_up_) {
        clear(); // what was held when it gave up
        return;
    }
    std::sort(references.begin(), references.end());
    references.erase(std::unique(references.begin(), references.end()), references.end());
    std::erase_if(references, [this](auto reference) { return pages_.contains(reference); });
    references.resize(std::min(references.size(), limit_));
    if (!references.empty() && make_room(references.size())) {
        map(references);
    }
}

void PersistentGrants::clear() {
    for (auto group = groups_.begin(); group != groups_.end();) {
        group = group->holds == 0 ? unmap(group) : std::next(group);
    }
}

/// False: nothing is to be mapped. The process' room is not taken from others.
bool PersistentGrants::make_room(std::size_t pages) {
    for (auto next = groups_.end(); pages_.size() + pages > limit_ && next != groups_.begin();) {
        --next;
        if (next->holds == 0) {
            evicted_ += next->references.size();
            next = unmap(next);
        }
    }
    if (evicted_ > limit_) { // as much was unmapped as there is room for
        if (uses_ < 2 * evicted_) {
            spdlog::info("domain {} does not use its grants again: they are copied, not mapped", domid_);
            give_up(); // on average no page was used a second time
            return false;
        }
        uses_ = evicted_ = 0;
    }
    return pages_.size() + pages <= limit_ && pages <= *room_;
}

void PersistentGrants::map(std::span<const std::uint32_t> references) {
    client::GrantMap map;
    try {
        map = client::GrantMap(grants_, domid_, references);
    } catch (const client::Error& error) { // which of them it was, copying will show
        if (++failures_ == most_failed_maps) {
            spdlog::info("{}: grants of domain {} are copied, not mapped", error.what(), domid_);
            give_up();
        }
        return;
    }
    *room_ -= references.size();
    mapped_.set(mapped_.get() + references.size());
    groups_.push_front({std::move(map), {references.begin(), references.end()}});
    for (std::size_t i = 0; i < references.size(); ++i) {
        pages_[references[i]] = {groups_.begin(), groups_.front().map.data() + i * client::page_size};
    }
}

PersistentGrants::Groups::iterator PersistentGrants::unmap(Groups::iterator group) {
    for (const auto reference : group->references) {
        pages_.erase(reference);
    }
    *room_ += group->references.size();
    mapped_.set(mapped_.get() - group->references.size());
    return groups_.erase(group);
}

void PersistentGrants::give_up() {
    given_up_ = true;
    clear();
}

} // namespace domus::block
