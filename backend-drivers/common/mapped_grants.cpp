// See mapped_grants.hpp.
#include "backend-drivers/common/mapped_grants.hpp"

#include <algorithm>
#include <cstring>

#include <xen/grant_table.h>

namespace domus::backend {

namespace {

constexpr std::size_t page_size = 4096;
/// No GNTST_* is positive: a piece that is left to the hypervisor.
constexpr std::int16_t asked = 1;

} // namespace

std::size_t MappedGrants::place(std::uint32_t reference) const {
    return static_cast<std::size_t>(std::lower_bound(references_.begin(), references_.end(), reference) -
                                    references_.begin());
}

const MappedGrants::Page* MappedGrants::find(std::uint32_t reference) const {
    const std::size_t at = place(reference);
    return at < references_.size() && references_[at] == reference ? &pages_[at] : nullptr;
}

void MappedGrants::add(std::uint32_t reference, bool writable) {
    references_.reserve(most_); // what follows the mapping must not fail
    pages_.reserve(most_);
    client::GrantMap map(grants_, domid_, std::span(&reference, 1), writable);
    const auto at = static_cast<std::ptrdiff_t>(place(reference));
    references_.insert(references_.begin() + at, reference);
    pages_.insert(pages_.begin() + at, Page{std::move(map), writable});
    ++in_all_;
    figures_.held.add();
    note();
}

bool MappedGrants::remove(std::uint32_t reference) {
    if (!has(reference)) {
        return false;
    }
    const auto at = static_cast<std::ptrdiff_t>(place(reference));
    references_.erase(references_.begin() + at);
    pages_.erase(pages_.begin() + at);
    --in_all_;
    figures_.held.set(figures_.held.get() - 1);
    note();
    return true;
}

void MappedGrants::clear() {
    in_all_ -= size();
    figures_.held.set(figures_.held.get() - size());
    references_.clear();
    pages_.clear();
    note();
}

void MappedGrants::note() {
    figures_.pages.set(size());
}

/// Where the page is mapped for it.
bool MappedGrants::move(client::GrantCopy& piece) {
    const Page* page = find(piece.reference);
    if (!page || (piece.to_guest && !page->writable) || std::size_t{piece.offset} + piece.length > page_size) {
        return false;
    }
    std::uint8_t* const there = page->map.data() + piece.offset;
    std::memcpy(piece.to_guest ? there : piece.local, piece.to_guest ? piece.local : there, piece.length);
    (piece.to_guest ? figures_.to_guest : figures_.from_guest).add();
    piece.status = GNTST_okay;
    return true;
}

void MappedGrants::copy(std::uint16_t domid, std::span<client::GrantCopy> pieces) {
    if (references_.empty()) {
        grants_->copy(domid, pieces);
        return;
    }
    others_.clear();
    for (client::GrantCopy& piece : pieces) {
        if (domid != domid_ || !move(piece)) {
            others_.push_back(piece);
            piece.status = asked;
        }
    }
    if (others_.empty()) {
        return;
    }
    grants_->copy(domid, others_);
    auto done = others_.cbegin();
    for (client::GrantCopy& piece : pieces) {
        if (piece.status == asked) {
            piece.status = (done++)->status;
        }
    }
}

} // namespace domus::backend
