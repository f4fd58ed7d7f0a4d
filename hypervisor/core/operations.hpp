// The sub-operations of a hypercall as one table: number, name, who may call, handler; and those that are not offered,
// with the answer and the reason. The dispatcher reads it, and docs/hypercalls.md is generated from it (OperationList).
// Header-only; no state.
//
//     constexpr Operation<Handler> rows[] = {
//         OFFERED(XENMEM_exchange, exchange_memory, Guest),
//         REFUSED(XENMEM_set_pod_target, Inval, Dom0, "for hardware-virtualized guests"),
//     };
//     const OperationList memory_operations(rows); // declared in core/operation_lists.hpp
#pragma once

#include "hypervisor/core/hypercall.hpp"

#include <span>

namespace domus::hv {

struct OperationInfo {
    u32 number;
    May may;
    const char* name;   // as in the public header
    const char* remark; // why it is refused, or what there is to know; nullptr: nothing
    Err answer{};       // of one that is not offered

    constexpr bool offered() const { return answer == Err{}; }
};

template <class Handler>
struct Operation : OperationInfo {
    Handler run = nullptr;
};

// clang-format off
#define OFFERED(constant, handler, may) {{constant, May::may, #constant, nullptr}, handler}
#define OFFERED_WITH(constant, handler, may, remark) {{constant, May::may, #constant, remark}, handler}
#define REFUSED(constant, error, may, why) {{constant, May::may, #constant, why, Err::error}}
// clang-format on

// The row of a command; nullptr: none, which is for Err::NoSys.
template <class Row, usize N>
constexpr const Row* find_operation(const Row (&rows)[N], u64 command) {
    for (const Row& row : rows) {
        if (row.number == command)
            return &row;
    }
    return nullptr;
}

// Row n is command n, so that the command is the index.
template <class Row, usize N>
consteval bool is_dense(const Row (&rows)[N]) {
    for (usize i = 0; i < N; ++i) {
        if (rows[i].number != i)
            return false;
    }
    return true;
}

// May this caller have it run at all? The answer otherwise.
inline Result<void> admit(const OperationInfo& operation, bool privileged) {
    if (operation.may == May::Dom0 && !privileged) [[unlikely]]
        return Err::Perm;
    if (!operation.offered()) [[unlikely]]
        return operation.answer;
    return {};
}

// Any such table, for whoever describes it.
class OperationList {
public:
    template <class Row, usize N>
    constexpr explicit OperationList(const Row (&rows)[N]) : first_(rows), stride_(sizeof(Row)), count_(N) {}
    usize size() const { return count_; }
    const OperationInfo& operator[](usize i) const {
        return *reinterpret_cast<const OperationInfo*>(reinterpret_cast<const u8*>(first_) + i * stride_);
    }

private:
    const OperationInfo* first_;
    usize stride_, count_;
};

} // namespace domus::hv
