// dom0's backend drivers and the guests' frontends, as far as xenstore shows them: they answer each other's states.
// Owner: the World. No lock; called after each change of the store.
#pragma once

#include "tests/unit/toolstack/fake/host.hpp"
#include "tests/unit/toolstack/fake/store.hpp"

namespace domus::engine::test {

class FakeKernel {
public:
    FakeKernel(StoreServer& store, FakeHost& host) : store_(store), host_(host) {}

    /// Brings every device one or more states further, and takes away what belongs to devices that are gone.
    void react();

    bool takes_devices = true; // false: no driver answers to a new backend directory
    bool opens_disks = true;   // false: the block backend cannot open what it is pointed at
    bool makes_interfaces = true;
    bool guests_connect = true; // frontends go to Connected when the backend waits
    bool guests_let_go = true;  // frontends go to Closed when the backend closes
    bool backends_close = true; // backends go to Closed when the frontend has; false: they were killed
    std::string refusal;        // not empty: why new devices are closed at once

private:
    bool react_in(std::uint16_t home);
    bool step(const std::string& kind, std::uint16_t domid, std::uint32_t devid, std::uint16_t home);
    void set_up(const std::string& kind, std::uint16_t domid, std::uint32_t devid);
    void take_down(const std::string& kind, std::uint16_t domid, std::uint32_t devid);
    bool alive(const std::string& kind, std::uint16_t domid, std::uint32_t devid) const;

    StoreServer& store_;
    FakeHost& host_;
    std::set<std::pair<std::uint16_t, std::uint32_t>> cards_; // interfaces that were made
};

} // namespace domus::engine::test
