// Domus' own hypercall. Owner: the set of features, fixed at start-up. No lock: counters are read while they change.
#include "hypervisor/core/extension.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension_tables.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

static_assert(DOMUS_HYPERCALL == __HYPERVISOR_arch_7);
static_assert(DOMUS_COUNTERS_MACHINE == DOMID_XEN);
static_assert(sizeof(domus_counter) == 64 && sizeof(domus_read_counters) == 16);

Result<i64> version(Call&, GuestPtr<void>) {
    return i64{DOMUS_EXT_INTERFACE_VERSION};
}

domus_counter counter_of(const PerfRow& row) {
    domus_counter out{};
    out.value = row.value;
    out.kind = row.kind == "trap"        ? DOMUS_COUNTER_trap
               : row.kind == "hypercall" ? DOMUS_COUNTER_hypercall
                                         : DOMUS_COUNTER_count;
    std::copy_n(row.name.data(), std::min(row.name.size(), sizeof out.name - 1), out.name);
    return out;
}

Result<u32> copy_counters(const PerfCounters& counters, const domus_read_counters& op) {
    const GuestPtr<domus_counter> list{op.counters};
    u32 there = 0;
    for (u32 i = 0; i < perf_rows; ++i) {
        const PerfRow row = perf_row(counters, i);
        if (row.name.empty())
            continue;
        if (there < op.count && !list.is_null())
            TRY(copy_out(list, counter_of(row), there));
        ++there;
    }
    return there;
}

Result<i64> read_counters(Call& call, GuestPtr<void> argument) {
    auto op = TRY(copy_in(argument.as<domus_read_counters>()));
    if (op.flags != 0)
        return Err::Inval;
    if (op.domid == DOMUS_COUNTERS_MACHINE) {
        if (!call.domain.privileged) {
            why(call.domain, "the machine's counters are for dom0 only");
            return Err::Perm;
        }
        op.count = TRY(copy_counters(machine_counters(), op));
    } else {
        DomainRef target = TRY(find_target(call.domain, op.domid));
        op.count = TRY(copy_counters(target->perf, op));
    }
    TRY(copy_out(argument.as<domus_read_counters>(), op));
    return i64{0};
}

// A sub-operation that belongs to a feature: unknown where that is not offered.
template <u32 Feature, Result<i64> (*Run)(Call&, GuestPtr<void>)>
Result<i64> with(Call& call, GuestPtr<void> argument) {
    return (extension_features & Feature) != 0 ? Run(call, argument) : Result<i64>(Err::NoSys);
}

constexpr Operation<Result<i64> (*)(Call&, GuestPtr<void>)> extension_ops[] = {
    OFFERED(DOMUS_EXT_version, version, Guest),
    OFFERED_WITH(DOMUS_EXT_read_counters, read_counters, Guest, "others' and the machine's: dom0 only"),
    OFFERED(DOMUS_EXT_protect, (with<DOMUS_FEATURE_ranges, protect_entries>), Guest),
    OFFERED(DOMUS_EXT_pin_tables, (with<DOMUS_FEATURE_tables, pin_tables>), Guest),
    OFFERED(DOMUS_EXT_unpin_tables, (with<DOMUS_FEATURE_tables, unpin_tables>), Guest),
    OFFERED(DOMUS_EXT_map, (with<DOMUS_FEATURE_maps, map_entries>), Guest),
};

constexpr u32 all_features =
    DOMUS_FEATURE_ranges | DOMUS_FEATURE_tables | DOMUS_FEATURE_superpages | DOMUS_FEATURE_maps;

} // namespace

constinit u32 extension_features = all_features;

void set_extension_features(u32 wanted) {
    extension_features = wanted & all_features;
}

Result<i64> extension(Call& call, u32 command, GuestPtr<void> argument) {
    const auto* row = find_operation(extension_ops, command);
    return row ? row->run(call, argument) : Result<i64>(Err::NoSys);
}

const OperationList extension_operations(extension_ops);

} // namespace domus::hv
