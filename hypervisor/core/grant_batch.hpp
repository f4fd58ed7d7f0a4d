// How grant operations run over an array of structures: copy one in, do it, copy it out with its status, and stop now
// and then (ISOLATION: unbounded work). Private to core/grant*.cpp.
#pragma once

#include "hypervisor/core/grants_state.hpp"

namespace domus::hv {

inline constexpr u32 ops_between_yields = 16;

template <class Op, class Body>
Result<i64> for_each_op(Call& call, u32 command, u64 arguments, u32 count, Body body) {
    const GuestPtr<Op> list{arguments};
    for (u32 i = 0; i < count; ++i) {
        Op op = TRY(copy_in(list, i));
        body(op);
        TRY(copy_out(list, op, i));
        if (i % ops_between_yields == ops_between_yields - 1 && i + 1 < count && must_yield())
            return call.resume_later(command, arguments + (u64{i} + 1) * sizeof(Op), count - i - 1);
    }
    return i64{0};
}

} // namespace domus::hv
