// Who the hypervisor is: xen_version in one call. Part of hypervisor.hpp.
#include "hypervisor/client/hypervisor.hpp"

#include <xen/version.h>

#include "hypervisor/client/call.hpp"

namespace domus::client {
namespace {

long version_op(const std::shared_ptr<Raw>& raw, unsigned command, std::uint64_t argument) {
    return raw->hypercall(__HYPERVISOR_xen_version, {command, argument});
}

/// A field the hypervisor may leave without its terminating zero.
template <std::size_t N>
std::string text(const char (&field)[N]) {
    return {field, ::strnlen(field, N)};
}

template <std::size_t N>
std::string text_answer(const std::shared_ptr<Raw>& raw, unsigned command) {
    Buffer<std::array<char, N>> field(raw);
    if (version_op(raw, command, field.address()) < 0) {
        return {};
    }
    return {field->data(), ::strnlen(field->data(), N)};
}

std::string build_id(const std::shared_ptr<Raw>& raw) {
    constexpr std::size_t longest = 64;
    Buffer<std::uint32_t> room(raw, 1 + longest / 4); // struct xen_build_id: a length, then bytes
    room[0] = longest;
    const long length = version_op(raw, XENVER_build_id, room.address());
    std::string hex;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&room[1]);
    for (long i = 0; i < length && i < static_cast<long>(longest); ++i) {
        constexpr char digits[] = "0123456789abcdef";
        hex += {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
    }
    return hex;
}

} // namespace

VersionInfo Hypervisor::version() {
    const long number = version_op(raw_, XENVER_version, 0);
    if (number < 0) {
        throw Error("xen_version", std::nullopt, static_cast<int>(-number));
    }
    VersionInfo info;
    info.major = static_cast<unsigned>(number >> 16);
    info.minor = static_cast<unsigned>(number & 0xffff);
    info.extra = text_answer<sizeof(xen_extraversion_t)>(raw_, XENVER_extraversion);
    Buffer<xen_compile_info_t> compile(raw_);
    if (version_op(raw_, XENVER_compile_info, compile.address()) >= 0) {
        info.compiler = text(compile->compiler);
        info.compile_by = text(compile->compile_by);
        info.compile_domain = text(compile->compile_domain);
        info.compile_date = text(compile->compile_date);
    }
    info.capabilities = text_answer<sizeof(xen_capabilities_info_t)>(raw_, XENVER_capabilities);
    info.changeset = text_answer<sizeof(xen_changeset_info_t)>(raw_, XENVER_changeset);
    info.command_line = text_answer<sizeof(xen_commandline_t)>(raw_, XENVER_commandline);
    info.build_id = build_id(raw_);
    Buffer<xen_platform_parameters_t> platform(raw_);
    if (version_op(raw_, XENVER_platform_parameters, platform.address()) >= 0) {
        info.virt_start = platform->virt_start;
    }
    const long page = version_op(raw_, XENVER_pagesize, 0);
    info.page_size = page > 0 ? static_cast<std::uint32_t>(page) : 4096;
    return info;
}

} // namespace domus::client
