// libxenevtchn, libxengnttab, libxenforeignmemory and sysctl getdomaininfolist. See platform.hpp.
// Owner: the daemon. Lock: none. Must not be included by tests: nothing here works without a hypervisor.
#include "xenstore-lite/server/xen_platform.hpp"

#include <boost/system/system_error.hpp>

#include <array>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define __XEN_TOOLS__ 1
extern "C" {
#include <xencall.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xengnttab.h>
}
#include <xen/grant_table.h>
#include <xen/sys/xenbus_dev.h>
#include <xen/sysctl.h>

namespace domus::xenstore::server {

namespace {
constexpr std::size_t page_size = 4096;

[[noreturn]] void fail(const std::string& what) {
    throw boost::system::system_error(errno, boost::system::generic_category(), what);
}

template <class Handle, int (*close)(Handle*)>
struct Closer {
    void operator()(Handle* handle) const { close(handle); }
};
template <class Handle, int (*close)(Handle*)>
using Owned = std::unique_ptr<Handle, Closer<Handle, close>>;

class GrantedPage final : public RingPage {
public:
    GrantedPage(xengnttab_handle* grants, void* page) : grants_(grants), page_(page) {}
    ~GrantedPage() override { xengnttab_unmap(grants_, page_, 1); }
    xenstore_domain_interface& ring() override { return *static_cast<xenstore_domain_interface*>(page_); }

private:
    xengnttab_handle* grants_;
    void* page_;
};

class ForeignPage final : public RingPage {
public:
    ForeignPage(xenforeignmemory_handle* memory, void* page) : memory_(memory), page_(page) {}
    ~ForeignPage() override { xenforeignmemory_unmap(memory_, page_, 1); }
    xenstore_domain_interface& ring() override { return *static_cast<xenstore_domain_interface*>(page_); }

private:
    xenforeignmemory_handle* memory_;
    void* page_;
};

class OwnPage final : public RingPage {
public:
    explicit OwnPage(void* page) : page_(page) {}
    ~OwnPage() override { munmap(page_, page_size); }
    xenstore_domain_interface& ring() override { return *static_cast<xenstore_domain_interface*>(page_); }

private:
    void* page_;
};

class XenPlatform final : public Platform {
public:
    XenPlatform();

    std::vector<tree::DomainState> domains() override;
    bool exists(std::uint16_t domid) override;
    std::unique_ptr<RingPage> map(std::uint16_t domid, std::uint64_t frame) override;
    std::optional<OwnKernel> own_kernel() override;
    Port bind(std::uint16_t domid, std::uint32_t remote_port) override;
    Port bind_domain_exit() override;
    void unbind(Port port) override { xenevtchn_unbind(events_.get(), port); }
    void notify(Port port) override { xenevtchn_notify(events_.get(), port); }
    int event_fd() override { return xenevtchn_fd(events_.get()); }
    std::optional<Port> pending() override;
    void unmask(Port port) override { xenevtchn_unmask(events_.get(), port); }

private:
    static constexpr std::uint32_t list_length = 64;
    std::uint32_t list_domains(std::uint16_t first, std::uint32_t count, xen_domctl_getdomaininfo_t* list);

    Owned<xenevtchn_handle, xenevtchn_close> events_;
    Owned<xengnttab_handle, xengnttab_close> grants_;
    Owned<xenforeignmemory_handle, xenforeignmemory_close> memory_;
    Owned<xencall_handle, xencall_close> calls_;
};

XenPlatform::XenPlatform()
    : events_(xenevtchn_open(nullptr, 0)), grants_(xengnttab_open(nullptr, 0)),
      memory_(xenforeignmemory_open(nullptr, 0)), calls_(xencall_open(nullptr, 0)) {
    if (!events_) {
        fail("cannot open the event channel device /dev/xen/evtchn (is xen-evtchn loaded, is this domain 0?)");
    }
    if (!calls_) {
        fail("cannot open the hypercall device /dev/xen/privcmd (is xen-privcmd loaded, is this domain 0?)");
    }
    if (!grants_ && !memory_) {
        fail("cannot open /dev/xen/gntdev nor /dev/xen/privcmd, so guests' rings cannot be mapped");
    }
}

std::uint32_t XenPlatform::list_domains(std::uint16_t first, std::uint32_t count, xen_domctl_getdomaininfo_t* list) {
    auto* call = static_cast<xen_sysctl_t*>(xencall_alloc_buffer(calls_.get(), sizeof(xen_sysctl_t)));
    if (!call) {
        fail("no memory for a hypercall buffer");
    }
    std::memset(call, 0, sizeof *call);
    call->cmd = XEN_SYSCTL_getdomaininfolist;
    call->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    call->u.getdomaininfolist.first_domain = first;
    call->u.getdomaininfolist.max_domains = count;
    set_xen_guest_handle(call->u.getdomaininfolist.buffer, list);
    const int result = xencall1(calls_.get(), __HYPERVISOR_sysctl, reinterpret_cast<std::uint64_t>(call));
    const std::uint32_t found = call->u.getdomaininfolist.num_domains;
    const int error = errno;
    xencall_free_buffer(calls_.get(), call);
    if (result < 0) {
        errno = error;
        fail("sysctl getdomaininfolist failed");
    }
    return found;
}

std::vector<tree::DomainState> XenPlatform::domains() {
    const std::size_t bytes = list_length * sizeof(xen_domctl_getdomaininfo_t);
    auto* list = static_cast<xen_domctl_getdomaininfo_t*>(xencall_alloc_buffer(calls_.get(), bytes));
    if (!list) {
        fail("no memory for the list of domains");
    }
    std::vector<tree::DomainState> all;
    std::uint32_t found = 0;
    try {
        do {
            const auto first = all.empty() ? 0 : all.back().domid + 1;
            found = list_domains(static_cast<std::uint16_t>(first), list_length, list);
            for (std::uint32_t i = 0; i < found && i < list_length; ++i) {
                all.push_back({list[i].domain, (list[i].flags & XEN_DOMINF_shutdown) != 0,
                               (list[i].flags & XEN_DOMINF_dying) != 0});
            }
        } while (found == list_length);
    } catch (...) {
        xencall_free_buffer(calls_.get(), list);
        throw;
    }
    xencall_free_buffer(calls_.get(), list);
    return all;
}

bool XenPlatform::exists(std::uint16_t domid) {
    auto* info = static_cast<xen_domctl_getdomaininfo_t*>(
        xencall_alloc_buffer(calls_.get(), sizeof(xen_domctl_getdomaininfo_t)));
    if (!info) {
        fail("no memory for a hypercall buffer");
    }
    bool known = false;
    try {
        known = list_domains(domid, 1, info) == 1 && info->domain == domid;
    } catch (...) {
        xencall_free_buffer(calls_.get(), info);
        throw;
    }
    xencall_free_buffer(calls_.get(), info);
    return known;
}

std::unique_ptr<RingPage> XenPlatform::map(std::uint16_t domid, std::uint64_t frame) {
    if (grants_) {
        if (void* page =
                xengnttab_map_grant_ref(grants_.get(), domid, GNTTAB_RESERVED_XENSTORE, PROT_READ | PROT_WRITE)) {
            return std::make_unique<GrantedPage>(grants_.get(), page);
        }
    }
    const xen_pfn_t gfn = frame;
    int error = 0;
    if (memory_) {
        void* page = xenforeignmemory_map(memory_.get(), domid, PROT_READ | PROT_WRITE, 1, &gfn, &error);
        if (page && error == 0) {
            return std::make_unique<ForeignPage>(memory_.get(), page);
        }
        if (page) {
            xenforeignmemory_unmap(memory_.get(), page, 1);
        }
    }
    fail("cannot map the xenstore ring of domain " + std::to_string(domid) + ": neither grant 1 nor frame " +
         std::to_string(frame) + " is there");
}

std::optional<OwnKernel> XenPlatform::own_kernel() {
    const int device = open("/dev/xen/xenbus_backend", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        return std::nullopt; // not domain 0's kernel, or one without a xenstore client
    }
    const int port = ioctl(device, IOCTL_XENBUS_BACKEND_EVTCHN, 0);
    void* page = mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
    const int error = errno;
    close(device);
    if (port <= 0 || page == MAP_FAILED) {
        errno = error;
        fail("/dev/xen/xenbus_backend gives no ring page or event channel");
    }
    return OwnKernel{std::make_unique<OwnPage>(page), static_cast<std::uint32_t>(port)};
}

Port XenPlatform::bind(std::uint16_t domid, std::uint32_t remote_port) {
    const int port = xenevtchn_bind_interdomain(events_.get(), domid, remote_port);
    if (port < 0) {
        fail("cannot bind port " + std::to_string(remote_port) + " of domain " + std::to_string(domid));
    }
    return static_cast<Port>(port);
}

Port XenPlatform::bind_domain_exit() {
    const int port = xenevtchn_bind_virq(events_.get(), VIRQ_DOM_EXC);
    if (port < 0) {
        fail("cannot bind VIRQ_DOM_EXC (is another xenstore daemon running?)");
    }
    return static_cast<Port>(port);
}

std::optional<Port> XenPlatform::pending() {
    pollfd ready{event_fd(), POLLIN, 0}; // reading without an event would block, whatever the file's flags
    if (poll(&ready, 1, 0) != 1) {
        return std::nullopt;
    }
    const int port = xenevtchn_pending(events_.get());
    return port < 0 ? std::nullopt : std::optional(static_cast<Port>(port));
}
} // namespace

std::unique_ptr<Platform> open_xen_platform() {
    return std::make_unique<XenPlatform>();
}

} // namespace domus::xenstore::server
