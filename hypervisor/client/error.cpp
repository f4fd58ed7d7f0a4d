// Texts of client::Error. See error.hpp.
#include "hypervisor/client/error.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

namespace domus::client {
namespace {

struct Advice {
    int error_number;
    std::string_view text;
};

constexpr Advice general_advice[] = {
    {EPERM, "only the privileged domain may do this: run it as root in dom0"},
    {EACCES, "only the privileged domain may do this: run it as root in dom0; if dom0 is privileged, the tools and "
             "the hypervisor may speak different interface versions"},
    {ESRCH, "there is no such domain any more: see `domus list`"},
    {ENOMEM, "the hypervisor has too little free memory: see `domus info`, shrink or stop another domain"},
    {ENOSYS, "this hypervisor does not offer the operation: see the hypercall list in docs/"},
    {EOPNOTSUPP, "this hypervisor does not offer the operation: see the hypercall list in docs/"},
    {ENOENT, "the device node is missing: is this a domain with the xen-privcmd, xen-evtchn and xen-gntdev modules?"},
    {ENODEV, "not running on a hypervisor with Xen's interface"},
    {EINVAL, "the hypervisor refused an argument: `domus dmesg` shows the rule it broke"},
};

std::string message(const std::string& operation, std::optional<std::uint16_t> domid, int error_number,
                    std::string advice) {
    if (advice.empty()) {
        for (const Advice& entry : general_advice) {
            if (entry.error_number == error_number) {
                advice = entry.text;
            }
        }
    }
    const char* name = ::strerrorname_np(error_number);
    std::string text = operation;
    if (domid) {
        text += fmt::format(" for domain {}", *domid);
    }
    text += fmt::format(": {} ({})", ::strerror(error_number), name ? name : "unknown errno");
    if (!advice.empty()) {
        text += "; " + advice;
    }
    return text;
}

} // namespace

Error::Error(std::string operation, std::optional<std::uint16_t> domid, int error_number, std::string advice)
    : std::runtime_error(message(operation, domid, error_number, std::move(advice))), operation_(std::move(operation)),
      domid_(domid), error_number_(error_number) {}

} // namespace domus::client
