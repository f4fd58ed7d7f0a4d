// memory_op acquire_resource: frames of another domain's that tools map (its grant table). Source: <xen/memory.h>.
// The caller gets machine frame numbers and maps them as frames of that domain. Lock: Rank::Grants inside.
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/memory_op.hpp"

namespace domus::hv {
namespace {

using Request = xen_mem_acquire_resource_t;

Result<void> judge(const Request& request) {
    if (request.pad != 0)
        return Err::Inval;
    if (request.type != XENMEM_resource_grant_table)
        return Err::OpNotSupp; // device models and processor traces are for hardware-virtualized domains
    if (request.id != XENMEM_resource_grant_table_id_shared && request.id != XENMEM_resource_grant_table_id_status)
        return Err::Inval;
    // ISOLATION, memory operations: the whole range is judged before its first frame.
    if (!fits(request.frame, request.nr_frames, u64{1} << 32))
        return Err::Inval;
    return {};
}

} // namespace

Result<i64> acquire_resource(MemoryCall& memory) {
    const auto request = TRY(copy_in(memory.argument.as<Request>()));
    TRY(judge(request));
    const auto frames = guest_ptr(request.frame_list);
    const DomainRef target = TRY(find_target(memory.caller(), request.domid));
    if (&*target == &memory.caller())
        return Err::Perm;
    if (frames.is_null()) // asks for the size
        return request.nr_frames == 0 ? Result<i64>(Err::OpNotSupp) : Result<i64>(Err::Inval);
    for (u64 i = memory.done; i < request.nr_frames; ++i) {
        if (i != memory.done && i % 16 == 0 && must_yield())
            return memory.later(i);
        const bool status = request.id == XENMEM_resource_grant_table_id_status;
        const Mfn mfn = TRY(target->grants.frame_for_guest(static_cast<u32>(request.frame + i), status));
        TRY(copy_out(frames, mfn.n, i));
    }
    return i64{0};
}

} // namespace domus::hv
