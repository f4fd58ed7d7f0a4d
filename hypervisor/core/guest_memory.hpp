// Guest memory by way of typed handles: copy once, then judge the copy. Owner: no state. Called by every hypercall.
// A handle is only an address; nothing is trusted about it. Errors: Err::Fault. Not to be called with a lock of
// Rank::PageTables or above: what a copy needs may have to be brought back first.
//
// ISOLATION: nothing else may touch guest addresses (fast_entry.S leaves it to the long way while a table is unhooked).
// Between prepare_copy and the copy no interrupt and no other CPU's flush is served: so a CPU that unhooks a table and
// flushes knows that no copy is on its way through it.
#pragma once

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/base/checked.hpp"
#include "hypervisor/base/result.hpp"
#include "hypervisor/core/unhooked_table.hpp"

#include <array>
#include <type_traits>

namespace domus::hv {

// A guest's pointer to T (XEN_GUEST_HANDLE).
template <class T>
struct GuestPtr {
    u64 address = 0;
    bool is_null() const { return address == 0; }
    template <class U>
    GuestPtr<U> as() const {
        return {address};
    }
    GuestPtr at(u64 index) const requires(!std::is_void_v<T>) { return {address + index * sizeof(T)}; }
};

// XEN_GUEST_HANDLE_64 and friends, out of a public structure: guest_ptr(op.u.list.buffer).
template <class Handle>
auto guest_ptr(const Handle& handle) {
    return GuestPtr<std::remove_pointer_t<decltype(handle.p)>>{reinterpret_cast<u64>(handle.p)};
}

inline Result<void> copy_in_bytes(void* to, u64 from, usize bytes) {
    if (!arch::is_guest_range(Vaddr(from), bytes))
        return Err::Fault;
    prepare_copy(from, bytes);
    if (arch::copy_from_guest(to, Vaddr(from), bytes) != 0)
        return Err::Fault;
    return {};
}

inline Result<void> copy_out_bytes(u64 to, const void* from, usize bytes) {
    if (!arch::is_guest_range(Vaddr(to), bytes))
        return Err::Fault;
    prepare_copy(to, bytes);
    if (arch::copy_to_guest(Vaddr(to), from, bytes) != 0)
        return Err::Fault;
    return {};
}

template <class T>
Result<T> copy_in(GuestPtr<T> from, u64 index = 0) {
    static_assert(std::is_trivially_copyable_v<T>);
    auto offset = checked_multiply(index, sizeof(T));
    auto address = offset ? checked_add(from.address, *offset) : offset;
    if (!address)
        return Err::Fault;
    std::remove_const_t<T> value;
    TRY(copy_in_bytes(&value, *address, sizeof value));
    return value;
}

template <class T>
Result<void> copy_out(GuestPtr<T> to, const std::type_identity_t<T>& value, u64 index = 0) {
    static_assert(std::is_trivially_copyable_v<T>);
    auto offset = checked_multiply(index, sizeof(T));
    auto address = offset ? checked_add(to.address, *offset) : offset;
    if (!address)
        return Err::Fault;
    return copy_out_bytes(*address, &value, sizeof value);
}

// Items of a guest's list, copied a group at a time. A group that reaches beyond readable memory is read one by one, so
// that what comes before the end is done.
template <class T, u32 Most>
struct GuestGroup {
    std::array<T, Most> items;

    Result<u32> load(GuestPtr<T> list, u32 index, u32 left) {
        const u32 size = left < Most ? left : Most;
        if (copy_in_bytes(items.data(), list.at(index).address, size * sizeof(T)))
            return size;
        TRY(copy_in_bytes(items.data(), list.at(index).address, sizeof(T)));
        return u32{1};
    }
};

} // namespace domus::hv
