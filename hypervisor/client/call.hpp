// Helpers shared by this library's .cpp files: one control operation, filled, made and judged. Internal.
#pragma once

#include <cerrno>
#include <cstring>

#include <xen/xen.h>

#include <xen/domctl.h>
#include <xen/memory.h>
#include <xen/sysctl.h>

#include "hypervisor/client/buffer.hpp"
#include "hypervisor/client/error.hpp"

#ifndef ERESTART
#define ERESTART 85
#endif

namespace domus::client::detail {

/// A domctl for one domain: zeroed, versioned, ready to be filled through op().
class Domctl {
public:
    Domctl(const std::shared_ptr<Raw>& raw, const char* name, std::uint32_t command, std::uint16_t domid)
        : raw_(raw), name_(name), buffer_(raw) {
        buffer_->cmd = command;
        buffer_->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        buffer_->domain = domid;
    }
    xen_domctl& op() { return *buffer_; }
    auto& u() { return buffer_->u; }
    /// Returns the answer or a negative errno.
    long attempt() { return raw_->hypercall(__HYPERVISOR_domctl, {buffer_.address()}); }
    /// Throws on failure.
    long run() {
        const std::uint16_t domid = buffer_->domain;
        const long answer = attempt();
        if (answer < 0) {
            throw Error(std::string("domctl ") + name_, domid, static_cast<int>(-answer));
        }
        return answer;
    }

private:
    const std::shared_ptr<Raw>& raw_;
    const char* name_;
    Buffer<xen_domctl> buffer_;
};

/// A sysctl: zeroed, versioned, ready to be filled through u().
class Sysctl {
public:
    Sysctl(const std::shared_ptr<Raw>& raw, const char* name, std::uint32_t command)
        : raw_(raw), name_(name), buffer_(raw) {
        buffer_->cmd = command;
        buffer_->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    }
    auto& u() { return buffer_->u; }
    long attempt() { return raw_->hypercall(__HYPERVISOR_sysctl, {buffer_.address()}); }
    long run() {
        const long answer = attempt();
        if (answer < 0) {
            throw Error(std::string("sysctl ") + name_, std::nullopt, static_cast<int>(-answer));
        }
        return answer;
    }

private:
    const std::shared_ptr<Raw>& raw_;
    const char* name_;
    Buffer<xen_sysctl> buffer_;
};

} // namespace domus::client::detail
