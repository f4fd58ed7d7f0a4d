// The engine: everything that can be done with guests, over a hypervisor, a store, a host, a builder and records.
// Owner: domusd's main. No lock: one io_context; work on one guest goes by turns (Turns).
// Called by the daemon's requests and by its own lifecycle watch. It keeps no state of its own about guests: what is
// true is asked of the hypervisor and xenstore each time, so that a restarted domusd knows as much as the old one.
#pragma once

#include "toolstack/engine/block.hpp"
#include "toolstack/engine/builder.hpp"
#include "toolstack/engine/figures.hpp"
#include "toolstack/engine/host.hpp"
#include "toolstack/engine/hypervisor.hpp"
#include "toolstack/engine/network.hpp"
#include "toolstack/engine/records.hpp"
#include "toolstack/engine/turns.hpp"
#include "toolstack/engine/undo.hpp"

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace domus::engine {

/// What the engine stands on. All outlive it.
struct Services {
    Hypervisor& hypervisor;
    xenstore::Client& store;
    Host& host;
    Builder& builder;
    RecordStore& records;
    Patience patience = {};
};

struct Created {
    std::uint16_t domid = 0;
    std::string name, uuid;
};

struct Listed {
    DomainInfo info;
    std::string name;
};

/// Memory a guest costs beside what it is given, in KiB: domain and vcpu structures, shared and grant frames.
std::uint64_t overhead_kib(unsigned vcpus);

class Engine {
public:
    explicit Engine(Services services)
        : s_(services), blocks_(services.store, services.host, services.patience),
          networks_(services.store, services.host, services.patience) {}
    Engine(const Engine&) = delete;

    /// Brings dom0's nodes up and takes over the guests that run: undoes half-made ones, acts on ended ones.
    asio::awaitable<void> start();
    /// Watches for guests that end and does their on_... actions. Runs until the store is lost for good.
    asio::awaitable<void> run();

    /// Creates a guest. Throws with what to do, and leaves nothing behind.
    asio::awaitable<Created> create(model::Domain config, bool paused, Progress progress);
    asio::awaitable<void> destroy(std::uint16_t domid);
    asio::awaitable<void> pause(std::uint16_t domid);
    asio::awaitable<void> unpause(std::uint16_t domid);
    /// Asks the guest to power off or reboot.
    asio::awaitable<void> power(std::uint16_t domid, bool reboot);
    /// Waits until the guest has ended. False: the limit was over first.
    asio::awaitable<bool> wait_ended(std::uint16_t domid, std::chrono::milliseconds limit);
    asio::awaitable<void> set_memory(std::uint16_t domid, std::uint64_t kib);

    asio::awaitable<std::vector<Listed>> list();
    /// The number of the domain called `text`, or numbered so. Throws with what to do when there is none.
    asio::awaitable<std::uint16_t> resolve(std::string text);

    asio::awaitable<std::uint32_t> attach_disk(std::uint16_t domid, model::Disk disk);
    asio::awaitable<std::uint32_t> attach_vif(std::uint16_t domid, model::Vif vif);
    /// `kind` is "vbd" or "vif". Throws when the guest does not let go and `force` is not set.
    asio::awaitable<void> detach(std::uint16_t domid, std::string kind, std::string device, bool force);
    /// figures.hpp: devices of one guest, or of all.
    asio::awaitable<std::vector<DeviceView>> devices(std::optional<std::uint16_t> domid, std::string device);
    Blocks& blocks() { return blocks_; }
    Networks& networks() { return networks_; }

    /// Acts on every guest that has ended since the last time. Called by run(), and by tests.
    asio::awaitable<void> check_domains();

private:
    struct Work; // one create() under way

    // create.cpp
    asio::awaitable<void> check_request(const model::Domain& config);
    asio::awaitable<void> check_unique(const model::Domain& config);
    void check_memory(std::uint64_t needed_kib, const std::string& for_what);
    asio::awaitable<void> make_domain(Work& work, UndoStack& undo);
    asio::awaitable<void> fill_domain(Work& work, UndoStack& undo);
    asio::awaitable<void> attach_devices(Work& work, UndoStack& undo);

    // destroy.cpp; the guest's turn is held
    asio::awaitable<void> take_down(std::uint16_t domid);
    asio::awaitable<void> disconnect(std::uint16_t domid); // from xenstore
    asio::awaitable<void> remove_devices(std::uint16_t domid);
    asio::awaitable<void> abandon_served(std::uint16_t domid);
    /// The number of the driver domain called `name`; 0 for "". `guest`: name or number of the one to be served.
    asio::awaitable<std::uint16_t> backend_domain(std::string name, std::string guest);
    void require_guest(std::uint16_t domid, const char* what, const char* instead = "name a guest (domus list)");

    // lifecycle.cpp; the guest's turn is held
    asio::awaitable<void> check_record(Record record);
    asio::awaitable<void> act_on_end(Record record, DomainInfo info);
    asio::awaitable<void> restart(Record record, bool rename, const std::string& why);
    asio::awaitable<void> preserve(Record record, const std::string& why);
    asio::awaitable<void> undo_half_made(Record record);

    std::optional<Record> record_of(std::uint16_t domid);

    Services s_;
    Blocks blocks_;
    Networks networks_;
    Turns turns_;
    std::set<std::string> in_the_making_; // names and UUIDs of guests being created
};

} // namespace domus::engine
