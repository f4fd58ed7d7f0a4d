// __HYPERVISOR_grant_table_op: the table of sub-operations and those that look after the table itself.
// Source: <xen/grant_table.h>. Lock: Rank::Grants inside.
#include "hypervisor/core/grant_batch.hpp"
#include "hypervisor/core/grant_version.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

Guarded<Table, Rank::Grants>& table_of(Domain& d) {
    return d.grants.state()->table;
}

// The frames of the table (or of its status words), one by one, so that no array of guest-chosen length is needed.
template <class List>
i16 list_frames(Domain& d, u32 count, List list, bool status) {
    for (u32 i = 0; i < count; ++i) {
        const auto frame = d.grants.frame_for_guest(i, status);
        if (!frame)
            return status_of(frame.error());
        if (!copy_out(guest_ptr(list), frame.value().n, i))
            return GNTST_bad_virt_addr;
    }
    return GNTST_okay;
}

// Setting up and describing a table are for one domain at a time: count is 1.
template <class Op, class Body>
Result<i64> single(u64 arguments, u32 count, Body body) {
    if (count != 1)
        return Err::Inval;
    const GuestPtr<Op> pointer{arguments};
    Op op = TRY(copy_in(pointer));
    body(op);
    TRY(copy_out(pointer, op));
    return i64{0};
}

template <class Op, class Body>
Result<i64> single_for_target(Call& call, u64 arguments, u32 count, Body body) {
    return single<Op>(arguments, count, [&](Op& op) {
        auto target = find_target(call.domain, op.dom);
        op.status = target ? body(*target.value(), op) : status_of(target.error());
    });
}

Result<i64> setup_table(Call& call, u64 arguments, u32 count) {
    return single_for_target<gnttab_setup_table_t>(
        call, arguments, count, [](Domain& d, const gnttab_setup_table_t& op) -> i16 {
            const u32 most = table_of(d).with([](Table& t) { return t.max_frames; });
            if (op.nr_frames > most) {
                why(d, "setup_table: {} frames asked for, {} allowed", op.nr_frames, most);
                return GNTST_general_error;
            }
            return list_frames(d, op.nr_frames, op.frame_list, false);
        });
}

Result<i64> get_status_frames(Call& call, u64 arguments, u32 count) {
    return single_for_target<gnttab_get_status_frames_t>(
        call, arguments, count, [](Domain& d, const gnttab_get_status_frames_t& op) -> i16 {
            const u32 there = table_of(d).with([](Table& t) { return t.version == 2 ? t.status_count : 0; });
            if (op.nr_frames > there)
                return GNTST_general_error;
            return list_frames(d, op.nr_frames, op.frame_list, true);
        });
}

Result<i64> query_size(Call& call, u64 arguments, u32 count) {
    return single_for_target<gnttab_query_size_t>(call, arguments, count,
                                                  [](Domain& d, gnttab_query_size_t& op) -> i16 {
                                                      return table_of(d).with([&](Table& t) -> i16 {
                                                          op.nr_frames = t.frame_count;
                                                          op.max_nr_frames = t.max_frames;
                                                          return GNTST_okay;
                                                      });
                                                  });
}

// For debugging: the grants in use, to the log, a bounded number of them and within the caller's limit.
Result<i64> dump_table(Call& call, u64 arguments, u32 count) {
    return single_for_target<gnttab_dump_table_t>(call, arguments, count, [&](Domain& d, const auto&) -> i16 {
        return table_of(d).with([&](Table& t) -> i16 {
            constexpr u32 most_lines = 64;
            log_for(call.domain, Level::Info, "grant table of d{}: version {}, {} frames of {}, {} in use", d.id,
                    t.version, t.frame_count, t.max_frames, t.used);
            for (u32 ref = 0, lines = 0; ref < t.entries() && lines < most_lines && lines < t.used; ++ref) {
                const ActiveGrant* active = t.at(GrantRef(ref));
                if (!active || !active->is_used())
                    continue;
                ++lines;
                log_for(call.domain, Level::Info, "  reference {}: frame {x} used by d{}, {} readers, {} writers", ref,
                        active->frame, active->user, active->readers, active->writers);
            }
            return GNTST_okay;
        });
    });
}

Result<i64> get_version(Call& call, u64 arguments, u32 count) {
    if (count != 1)
        return Err::Inval;
    const GuestPtr<gnttab_get_version_t> pointer{arguments};
    auto op = TRY(copy_in(pointer));
    DomainRef d = TRY(find_target(call.domain, op.dom));
    op.version = d->grants.version();
    TRY(copy_out(pointer, op));
    return i64{0};
}

Result<i64> set_version(Call& call, u64 arguments, u32 count) {
    if (count != 1)
        return Err::Inval;
    const GuestPtr<gnttab_set_version_t> pointer{arguments};
    auto op = TRY(copy_in(pointer));
    if (op.version != 1 && op.version != 2)
        return Err::Inval;
    auto switched = table_of(call.domain).with([&](Table& t) -> Result<void> {
        const auto result =
            op.version > t.max_version ? Result<void>(Err::NoSys) : switch_version(call.domain, t, op.version);
        op.version = t.version; // what is in force now, whatever was asked for
        return result;
    });
    TRY(copy_out(pointer, op));
    TRY(switched);
    return i64{0};
}

Result<i64> swap_grant_ref(Call& call, u64 arguments, u32 count) {
    return for_each_op<gnttab_swap_grant_ref_t>(call, GNTTABOP_swap_grant_ref, arguments, count, [&](auto& op) {
        op.status = table_of(call.domain).with([&](Table& t) {
            return swap_entries(t, GrantRef(op.ref_a), GrantRef(op.ref_b));
        });
    });
}

using Op = Result<i64> (*)(Call&, u64 arguments, u32 count);
constexpr Operation<Op> grant_ops[] = {
    OFFERED(GNTTABOP_map_grant_ref, grant_map, Guest),
    OFFERED(GNTTABOP_unmap_grant_ref, grant_unmap, Guest),
    OFFERED(GNTTABOP_setup_table, setup_table, Guest),
    OFFERED(GNTTABOP_dump_table, dump_table, Guest),
    REFUSED(GNTTABOP_transfer, NoSys, Guest, "no current guest uses it, and its history is bad"),
    OFFERED(GNTTABOP_copy, grant_copy, Guest),
    OFFERED(GNTTABOP_query_size, query_size, Guest),
    OFFERED(GNTTABOP_unmap_and_replace, grant_unmap_and_replace, Guest),
    OFFERED(GNTTABOP_set_version, set_version, Guest),
    OFFERED(GNTTABOP_get_status_frames, get_status_frames, Guest),
    OFFERED(GNTTABOP_get_version, get_version, Guest),
    OFFERED(GNTTABOP_swap_grant_ref, swap_grant_ref, Guest),
    REFUSED(GNTTABOP_cache_flush, OpNotSupp, Guest, "caches are coherent on x86"),
};
static_assert(is_dense(grant_ops));

} // namespace

Result<i64> grant_table_op(Call& call, u32 command, u64 arguments, u32 count) {
    if (command >= std::size(grant_ops))
        return Err::NoSys;
    if (static_cast<i32>(count) < 0)
        return Err::Inval;
    const auto& row = grant_ops[command];
    TRY(admit(row, call.domain.privileged));
    return row.run(call, arguments, count);
}

const OperationList grant_operations(grant_ops);

} // namespace domus::hv
