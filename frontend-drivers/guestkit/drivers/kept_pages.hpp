// Pages that stay lent to a disk's backend from one request to the next, which maps each but once (feature-persistent
// of <xen/io/blkif.h>): a request's data is copied to and from them. Owner: a queue. No lock: one vcpu. Each page is
// free or in one list, a request's, in the order of its data. What is noted of them stands in a page of its own,
// because a queue lives in a coroutine's frame.
#pragma once

#include "frontend-drivers/guestkit/drivers/kit.hpp"

namespace domus::guest {

class KeptPages {
public:
    static constexpr u32 most = 128;

    class List {
    public:
        bool empty() const { return first_ == none; }

    private:
        friend class KeptPages;
        u8 first_ = none, last_ = none;
    };

    // At most so many. What could be lent before an error is taken back by take_back().
    Result<void> lend(Kit& kit, u32 count, u16 to) {
        pages_ = reinterpret_cast<Page*>(TRY(kit.platform.take_pages()));
        for (; lent_ < count && lent_ < most; ++lent_) {
            u8* memory = TRY(kit.platform.take_pages()); // each by itself: it may be used again by anybody
            const auto reference = kit.grants.lend(to, memory, Lend::Writable);
            if (!reference) {
                kit.platform.give_page(memory);
                return reference.error();
            }
            pages_[lent_] = {memory, reference.value(), free_};
            free_ = static_cast<u8>(lent_);
        }
        return {};
    }
    // None is in a list. False: the backend keeps a page, which is not used again.
    bool take_back(Kit& kit) {
        bool all = true;
        for (free_ = none; lent_ != 0; --lent_) {
            const Page& page = pages_[lent_ - 1];
            if (kit.grants.take_back(page.reference))
                kit.platform.give_page(page.memory);
            else
                all = false;
        }
        if (pages_ != nullptr)
            kit.platform.give_page(std::exchange(pages_, nullptr));
        return all;
    }
    bool any() const { return lent_ != 0; }

    // Puts a free page at the list's end. NoSpace: all are in lists.
    Result<u32> take(List& list) {
        if (free_ == none)
            return Err::NoSpace;
        const u8 page = free_;
        free_ = std::exchange(pages_[page].next, none);
        (list.empty() ? list.first_ : pages_[list.last_].next) = page;
        list.last_ = page;
        return u32{page};
    }
    void give(List& list) {
        if (!list.empty()) {
            pages_[list.last_].next = free_;
            free_ = list.first_;
        }
        list = {};
    }
    // With each page of the list, one after the other: with(u8* page).
    template <class With>
    void each(const List& list, With with) const {
        for (u8 page = list.first_; page != none; page = pages_[page].next)
            with(pages_[page].memory);
    }
    u8* at(u32 page) const { return pages_[page].memory; }
    u32 reference(u32 page) const { return pages_[page].reference; }

private:
    static constexpr u8 none = 0xff;
    struct Page {
        u8* memory;
        u32 reference;
        u8 next;
    };
    static_assert(most * sizeof(Page) <= page_size && most < none);

    Page* pages_ = nullptr;
    u32 lent_ = 0;
    u8 free_ = none;
};

} // namespace domus::guest
