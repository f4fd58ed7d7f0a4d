// A hypervisor for tests: rings in memory shared with child processes, event channels as pipes of port numbers.
// The same memory serves daemons that come and go, as real guests' memory does.
#pragma once

#include <boost/system/system_error.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <set>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xenstore-lite/server/platform.hpp"

namespace domus::xenstore::server {

/// What lives on when a daemon is killed: pages, and who is told of what.
struct FakeMachine {
    static constexpr std::size_t most = 8; // domains 0..7; a domain's port has the domain's number plus 100
    struct Shared {
        std::array<xenstore_domain_interface, most> pages;
        std::array<std::atomic<std::uint32_t>, most> told; // events sent to the guest
        std::array<std::atomic<bool>, most> exists;
        std::array<std::atomic<bool>, most> shut_down;
        std::array<std::atomic<bool>, most> dying;
    };

    FakeMachine() {
        void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        shared = new (memory) Shared{};
        if (pipe2(to_daemon, O_CLOEXEC | O_NONBLOCK) != 0) {
            throw std::runtime_error("no pipe");
        }
    }
    ~FakeMachine() {
        munmap(shared, sizeof(Shared));
        close(to_daemon[0]);
        close(to_daemon[1]);
    }
    FakeMachine(const FakeMachine&) = delete;
    FakeMachine& operator=(const FakeMachine&) = delete;

    /// The guest signals its event channel. Lost while no daemon is there, as with a port nobody is bound to.
    void signal(std::uint32_t port) const {
        if (write(to_daemon[1], &port, sizeof port) < 0) {
            return; // full: the daemon has enough to do
        }
    }

    Shared* shared;
    int to_daemon[2];
};

class FakePlatform final : public Platform {
public:
    static constexpr Port exit_port = 99;

    explicit FakePlatform(FakeMachine& machine, bool with_own_kernel = false)
        : machine_(machine), with_own_kernel_(with_own_kernel) {
        // Events of an earlier daemon's channels are not ours.
        std::uint32_t port = 0;
        while (read(machine_.to_daemon[0], &port, sizeof port) == sizeof port) {
        }
    }

    std::vector<tree::DomainState> domains() override {
        std::vector<tree::DomainState> all;
        for (std::uint16_t domid = 0; domid < FakeMachine::most; ++domid) {
            if (machine_.shared->exists[domid]) {
                all.push_back({domid, machine_.shared->shut_down[domid], machine_.shared->dying[domid]});
            }
        }
        return all;
    }
    bool exists(std::uint16_t domid) override { return domid < FakeMachine::most && machine_.shared->exists[domid]; }

    std::unique_ptr<RingPage> map(std::uint16_t domid, std::uint64_t) override {
        if (!exists(domid)) {
            throw boost::system::system_error(ENOENT, boost::system::generic_category(), "no such domain");
        }
        mapped.insert(domid);
        return std::make_unique<Page>(*this, domid);
    }
    std::optional<OwnKernel> own_kernel() override {
        if (!with_own_kernel_) {
            return std::nullopt;
        }
        mapped.insert(0);
        return OwnKernel{std::make_unique<Page>(*this, 0), 100};
    }
    Port bind(std::uint16_t, std::uint32_t remote_port) override {
        bound.insert(remote_port);
        return remote_port;
    }
    Port bind_domain_exit() override { return exit_port; }
    void unbind(Port port) override { bound.erase(port); }
    void notify(Port port) override {
        ++machine_.shared->told[port - 100];
        if (on_notify) {
            on_notify(port);
        }
    }
    int event_fd() override { return machine_.to_daemon[0]; }
    /// As /dev/xen/evtchn: each port is told once until it is unmasked, and what comes in between is kept until then.
    std::optional<Port> pending() override {
        std::uint32_t port = 0;
        while (read(machine_.to_daemon[0], &port, sizeof port) == sizeof port) {
            if (masked_.insert(port).second) {
                return port;
            }
            late_.insert(port);
        }
        return std::nullopt;
    }
    void unmask(Port port) override {
        masked_.erase(port);
        if (late_.erase(port) != 0) {
            machine_.signal(port);
        }
    }

    std::set<std::uint16_t> mapped;
    std::set<std::uint32_t> bound;
    std::function<void(Port)> on_notify; // what guests do while the daemon is at this point

private:
    struct Page final : RingPage {
        Page(FakePlatform& owner, std::uint16_t number) : platform(owner), domid(number) {}
        ~Page() override { platform.mapped.erase(domid); }
        xenstore_domain_interface& ring() override { return platform.machine_.shared->pages[domid]; }
        FakePlatform& platform;
        std::uint16_t domid;
    };

    FakeMachine& machine_;
    bool with_own_kernel_;
    std::set<Port> masked_, late_;
};

/// The guest's side of a ring. Never blocks.
class FakeGuest {
public:
    FakeGuest(FakeMachine& machine, std::uint16_t domid)
        : machine_(machine), page_(machine.shared->pages[domid]), port_(domid + 100u) {}

    /// Puts as many bytes as fit into the ring; the rest stays queued for pump().
    void send(const wire::Message& message) {
        waiting_ += wire::encode(message);
        pump();
    }

    /// Moves bytes both ways; true if any moved.
    bool pump() {
        bool moved = false, owed = false;
        const std::uint32_t produced = page_.req_prod;
        const std::uint32_t room = XENSTORE_RING_SIZE - (produced - load(page_.req_cons));
        const auto count = std::min<std::size_t>(room, waiting_.size());
        for (std::size_t i = 0; i < count; ++i) {
            page_.req[MASK_XENSTORE_IDX(produced + i)] = waiting_[i];
        }
        if (count != 0) {
            store(page_.req_prod, produced + static_cast<std::uint32_t>(count));
            waiting_.erase(0, count);
            moved = true;
            owed = produced == load(page_.req_cons); // else the daemon is busy with what came before
        }
        if (!deaf) {
            const std::uint32_t consumed = page_.rsp_cons;
            const std::uint32_t available = load(page_.rsp_prod) - consumed;
            for (std::uint32_t i = 0; i < available; ++i) {
                const char byte = page_.rsp[MASK_XENSTORE_IDX(consumed + i)];
                decoder_.feed({&byte, 1});
            }
            if (available != 0) {
                store(page_.rsp_cons, consumed + available);
                moved = true;
                owed |= load(page_.rsp_prod) - consumed >= XENSTORE_RING_SIZE; // the daemon may wait for room
            }
        }
        if (frugal ? owed : moved) {
            signal();
        }
        return moved;
    }
    std::optional<wire::Message> receive() { return decoder_.next(); }
    void signal() const { machine_.signal(port_); }
    bool sent_all() const { return waiting_.empty(); }

    bool deaf = false;   ///< does not fetch replies
    bool frugal = false; ///< signals only when it has to, as Linux does

private:
    static std::uint32_t load(std::uint32_t& field) { return std::atomic_ref<std::uint32_t>(field).load(); }
    static void store(std::uint32_t& field, std::uint32_t value) { std::atomic_ref<std::uint32_t>(field).store(value); }

    FakeMachine& machine_;
    xenstore_domain_interface& page_;
    std::uint32_t port_;
    std::string waiting_;
    wire::Decoder decoder_;
};

} // namespace domus::xenstore::server
