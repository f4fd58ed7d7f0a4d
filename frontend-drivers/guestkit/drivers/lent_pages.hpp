// Pages side by side, each lent to a backend: what rings and a card's buffers lie in. Owner: a queue. No lock: one
// vcpu.
#pragma once

#include "frontend-drivers/guestkit/drivers/kit.hpp"

namespace domus::guest {

template <u32 most>
class LentPages {
public:
    // What could be lent before an error is taken back by take_back().
    Result<void> lend(Kit& kit, u32 count, u16 to, Lend how = Lend::Writable) {
        first_ = TRY(kit.platform.take_pages(count));
        for (lent_ = 0; lent_ < count; ++lent_) {
            const auto reference = kit.grants.lend(to, at(lent_), how);
            if (!reference) {
                for (u32 i = lent_; i < count; ++i)
                    kit.platform.give_page(at(i));
                return reference.error();
            }
            references_[lent_] = static_cast<u16>(reference.value());
        }
        return {};
    }
    // False: the backend keeps a page, which is not used again.
    bool take_back(Kit& kit) {
        bool all = true;
        for (; lent_ != 0; --lent_) {
            if (kit.grants.take_back(references_[lent_ - 1]))
                kit.platform.give_page(at(lent_ - 1));
            else
                all = false;
        }
        return all;
    }

    u8* at(u32 page) const { return first_ + page * page_size; }
    u16 reference(u32 page) const { return references_[page]; }

private:
    u8* first_ = nullptr;
    u32 lent_ = 0;
    u16 references_[most] = {}; // 16 bits hold every reference of GrantTable
};

} // namespace domus::guest
