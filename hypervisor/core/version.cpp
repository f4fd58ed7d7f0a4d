// xen_version. Owner: this file. No lock: what it answers is fixed after start-up.
#include "hypervisor/core/version.hpp"

#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constinit std::array<char, sizeof(xen_commandline_t)> command_line_text{};

#ifndef DOMUS_CHANGESET
#define DOMUS_CHANGESET "unknown"
#endif

// A text field of the interface: zero-padded and always terminated.
template <usize Size>
void put_text(char (&field)[Size], std::string_view text) {
    std::fill(field, field + Size, '\0');
    std::copy_n(text.data(), std::min(text.size(), Size - 1), field);
}

template <class Field>
Result<i64> answer_text(GuestPtr<void> argument, std::string_view text) {
    Field field;
    put_text(field, text);
    TRY(copy_out_bytes(argument.address, field, sizeof field));
    return i64{0};
}

Result<i64> version(Call&, GuestPtr<void>) {
    return i64{xen_major << 16 | xen_minor};
}

Result<i64> extraversion(Call&, GuestPtr<void> argument) {
    return answer_text<xen_extraversion_t>(argument, extra_version);
}

Result<i64> compile_info(Call&, GuestPtr<void> argument) {
    xen_compile_info_t info{};
    put_text(info.compiler, "C++20, " __VERSION__);
    put_text(info.compile_by, "domus");
    put_text(info.compile_domain, "domus");
    put_text(info.compile_date, "reproducible build");
    TRY(copy_out(argument.as<xen_compile_info_t>(), info));
    return i64{0};
}

// The trailing space is part of the format: each guest type the machine can run is followed by one.
Result<i64> capabilities(Call&, GuestPtr<void> argument) {
    return answer_text<xen_capabilities_info_t>(argument, "xen-3.0-x86_64 ");
}

Result<i64> changeset(Call&, GuestPtr<void> argument) {
    return answer_text<xen_changeset_info_t>(argument, DOMUS_CHANGESET);
}

Result<i64> platform_parameters(Call&, GuestPtr<void> argument) {
    const xen_platform_parameters_t parameters{.virt_start = 0xffff800000000000};
    TRY(copy_out(argument.as<xen_platform_parameters_t>(), parameters));
    return i64{0};
}

// What a 64-bit PV guest gets, bit for bit what Xen 4.17 answers (0x228f0 for dom0). Not in the list: writable page
// tables (stray writes are handled, but a kernel that counts on them is not supported), anything for
// hardware-virtualized guests.
Result<i64> get_features(Call& call, GuestPtr<void> argument) {
    constexpr u32 for_all = 1u << XENFEAT_pae_pgdir_above_4gb | 1u << XENFEAT_mmu_pt_update_preserve_ad |
                            1u << XENFEAT_highmem_assist | 1u << XENFEAT_gnttab_map_avail_bits |
                            1u << XENFEAT_memory_op_vnode_supported | 1u << XENFEAT_direct_mapped;
    auto info = TRY(copy_in(argument.as<xen_feature_info_t>()));
    if (info.submap_idx >= XENFEAT_NR_SUBMAPS)
        return Err::Inval;
    info.submap = for_all | (call.domain.privileged ? 1u << XENFEAT_dom0 : 0);
    TRY(copy_out(argument.as<xen_feature_info_t>(), info));
    return i64{0};
}

Result<i64> pagesize(Call&, GuestPtr<void> argument) {
    if (!argument.is_null())
        return Err::Inval;
    return static_cast<i64>(page_size);
}

Result<i64> guest_handle(Call& call, GuestPtr<void> argument) {
    TRY(copy_out_bytes(argument.address, call.domain.handle, sizeof(xen_domain_handle_t)));
    return i64{0};
}

// The command line may hold what guests need not know: dom0 only, others get an empty-looking refusal text as on Xen.
Result<i64> commandline(Call& call, GuestPtr<void> argument) {
    return answer_text<xen_commandline_t>(argument, call.domain.privileged ? command_line() : "<denied>");
}

constexpr Operation<Result<i64> (*)(Call&, GuestPtr<void>)> version_ops[] = {
    OFFERED(XENVER_version, version, Guest),
    OFFERED(XENVER_extraversion, extraversion, Guest),
    OFFERED(XENVER_compile_info, compile_info, Guest),
    OFFERED(XENVER_capabilities, capabilities, Guest),
    OFFERED(XENVER_changeset, changeset, Guest),
    OFFERED(XENVER_platform_parameters, platform_parameters, Guest),
    OFFERED(XENVER_get_features, get_features, Guest),
    OFFERED(XENVER_pagesize, pagesize, Guest),
    OFFERED(XENVER_guest_handle, guest_handle, Guest),
    OFFERED_WITH(XENVER_commandline, commandline, Guest, "`<denied>` but for dom0"),
    REFUSED(XENVER_build_id, NoData, Guest, "builds are named by their changeset"),
};

} // namespace

Result<i64> xen_version(Call& call, i32 command, GuestPtr<void> argument) {
    const auto* row = find_operation(version_ops, static_cast<u32>(command));
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    return row->run(call, argument);
}

const OperationList version_operations(version_ops);

void set_command_line(std::string_view text) {
    const usize length = std::min(text.size(), command_line_text.size() - 1);
    std::copy_n(text.data(), length, command_line_text.data());
    command_line_text[length] = '\0';
}

std::string_view command_line() {
    return std::string_view(command_line_text.data());
}

} // namespace domus::hv
