// dom0's side of the bus: what the kernel's devices are to a backend (/dev/xen/evtchn, /dev/xen/gntdev) and the
// hypervisor to xenstored, over the hypervisor's own event-channel and grant code. Owner: Bus. One thread.
#pragma once

#include "hypervisor/client/event_channels.hpp"
#include "hypervisor/client/grants.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"
#include "xenstore-lite/server/platform.hpp"

#include <deque>
#include <functional>
#include <map>
#include <set>

namespace domus::bus {

using domus::test::Machine;
using hv::Domain;
using Trace = std::function<void(std::string)>;

// Faults that a test injects.
struct Faults {
    unsigned refuse_maps = 0;   // so many of the next grant maps fail in the page tables
    unsigned refuse_copies = 0; // so many of the next pieces of grant copies answer GNTST_general_error
};

class EventFile;

// Which open file a port of dom0 belongs to; takes what is pending in dom0's shared_info there.
class EventDevice {
public:
    EventDevice(Machine& machine, Domain& dom0, Trace trace) : machine(machine), dom0(dom0), trace(std::move(trace)) {}
    bool deliver(); // lower ports first; false: nothing was pending

    Machine& machine;
    Domain& dom0;
    Trace trace;
    std::map<std::uint32_t, EventFile*> owners;
};

// One user's ports, as an open /dev/xen/evtchn has them.
class EventFile {
public:
    explicit EventFile(EventDevice& device);
    EventFile(const EventFile&) = delete;
    EventFile& operator=(const EventFile&) = delete;
    ~EventFile();

    int descriptor() const { return ready_; }
    std::uint32_t bind(std::uint16_t domid, std::uint32_t remote_port);
    std::uint32_t bind_unbound(std::uint16_t remote);
    std::uint32_t bind_virq(std::uint32_t virq);
    void unbind(std::uint32_t port) noexcept;
    void notify(std::uint32_t port);
    std::optional<std::uint32_t> pending();
    void unmask(std::uint32_t port);
    void arrived(std::uint32_t port);

private:
    std::uint32_t own(std::uint32_t port);
    EventDevice& device_;
    int ready_;
    std::set<std::uint32_t> ports_;
    std::deque<std::uint32_t> queue_;
};

// For hypervisor/client's EventChannels.
class BackendEvents final : public client::RawEventChannels {
public:
    explicit BackendEvents(EventDevice& device) : file_(device) {}
    int descriptor() const override { return file_.descriptor(); }
    std::uint32_t bind_interdomain(std::uint16_t domid, std::uint32_t remote) override {
        return file_.bind(domid, remote);
    }
    std::uint32_t bind_unbound(std::uint16_t remote) override { return file_.bind_unbound(remote); }
    std::uint32_t bind_virq(unsigned virq) override { return file_.bind_virq(virq); }
    void unbind(std::uint32_t port) noexcept override { file_.unbind(port); }
    void notify(std::uint32_t port) override { file_.notify(port); }
    std::optional<std::uint32_t> pending() override { return file_.pending(); }
    void unmask(std::uint32_t port) override { file_.unmask(port); }

private:
    EventFile file_;
};

// Mappings are mappings: after unmap() an access is a fault of the test, and a read-only page cannot be written.
class BackendGrants final : public client::Grants {
public:
    BackendGrants(Machine& machine, Domain& dom0, Faults& faults, Trace trace);
    ~BackendGrants() override;
    void* map(std::uint16_t domid, std::span<const std::uint32_t> references, bool writable) override;
    void unmap(void* address, std::size_t pages) noexcept override;
    void copy(std::uint16_t domid, std::span<client::GrantCopy> pieces) override;

    std::size_t mapped() const { return handles_.size(); } // pages

private:
    std::int16_t map_one(std::uint16_t domid, std::uint32_t reference, u8* address, bool writable);
    void copy_one(std::uint16_t domid, client::GrantCopy& piece);
    Machine& machine_;
    Domain& dom0_;
    Faults& faults_;
    Trace trace_;
    Mfn bounce_; // the hypervisor copies between frames: local memory goes through this one
    std::map<std::uintptr_t, std::uint32_t> handles_; // by address
};

class StorePlatform final : public xenstore::server::Platform {
public:
    StorePlatform(EventDevice& device, const std::map<std::uint16_t, Domain*>& domains)
        : file_(device), domains_(domains) {}
    std::vector<xenstore::tree::DomainState> domains() override;
    bool exists(std::uint16_t domid) override { return domid == 0 || domains_.contains(domid); }
    std::unique_ptr<xenstore::server::RingPage> map(std::uint16_t domid, std::uint64_t frame) override;
    std::optional<xenstore::server::OwnKernel> own_kernel() override { return {}; }
    std::uint32_t bind(std::uint16_t domid, std::uint32_t remote) override { return file_.bind(domid, remote); }
    std::uint32_t bind_domain_exit() override { return file_.bind_virq(VIRQ_DOM_EXC); }
    void unbind(std::uint32_t port) override { file_.unbind(port); }
    void notify(std::uint32_t port) override { file_.notify(port); }
    int event_fd() override { return file_.descriptor(); }
    std::optional<std::uint32_t> pending() override { return file_.pending(); }
    void unmask(std::uint32_t port) override { file_.unmask(port); }

private:
    EventFile file_;
    const std::map<std::uint16_t, Domain*>& domains_;
};

// Frames of the machine side by side in this process' memory: room for them, each page shown there, all taken away.
u8* reserve(std::size_t pages);
void show(u8* address, Mfn frame, bool writable);
void unview(void* address, std::size_t pages) noexcept;

} // namespace domus::bus
