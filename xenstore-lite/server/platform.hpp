// What the daemon needs from the hypervisor, so that tests can stand in for it. Implemented by XenPlatform.
// Lock: none, one thread. Everything may throw boost::system::system_error (errno value) with a message.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <cerrno>

#include <xen/io/xs_wire.h>

#include "xenstore-lite/tree/store.hpp"

namespace domus::xenstore::server {

/// Our end of an event channel.
using Port = std::uint32_t;

/// A mapped xenstore ring; unmapped when destroyed. The guest writes to it at any time.
class RingPage {
public:
    virtual ~RingPage() = default;
    virtual xenstore_domain_interface& ring() = 0;
};

/// The ring of the kernel we run on, which nobody introduces.
struct OwnKernel {
    std::unique_ptr<RingPage> page;
    std::uint32_t port; ///< the kernel's end
};

class Platform {
public:
    virtual ~Platform() = default;

    virtual std::vector<tree::DomainState> domains() = 0;
    virtual bool exists(std::uint16_t domid) = 0;

    /// Maps a domain's ring: by its reserved grant, or by frame where it has none.
    virtual std::unique_ptr<RingPage> map(std::uint16_t domid, std::uint64_t frame) = 0;
    virtual std::optional<OwnKernel> own_kernel() = 0;

    virtual Port bind(std::uint16_t domid, std::uint32_t remote_port) = 0;
    /// The port on which VIRQ_DOM_EXC arrives: some domain shut down or died.
    virtual Port bind_domain_exit() = 0;
    virtual void unbind(Port port) = 0;
    virtual void notify(Port port) = 0;

    /// Readable when an event is waiting. Stays ours: the caller waits on a duplicate.
    virtual int event_fd() = 0;
    /// The next event, without waiting; it does not come again before unmask().
    virtual std::optional<Port> pending() = 0;
    virtual void unmask(Port port) = 0;
};

} // namespace domus::xenstore::server
