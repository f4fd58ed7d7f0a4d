// Disks of guests, served by Linux's xen-blkback or by domus-blockd. Owner: the engine. No lock; the guest's turn is
// held by the caller.
#pragma once

#include "toolstack/engine/device.hpp"
#include "toolstack/engine/host.hpp"

#include <string>
#include <vector>

namespace domus::engine {

struct BlockState {
    std::uint32_t devid = 0;
    std::uint16_t backend_domid = 0;
    std::string vdev, target, backend;
    bool read_only = false;
    XenbusState state = XenbusState::Absent;
    std::uint32_t event_channel = 0, ring_ref = 0; // as the guest says; 0: not yet
};

/// "vbd" or "domus-vbd": whose backend this disk wants.
std::string backend_kind(const model::Disk& disk);

class Blocks {
public:
    Blocks(xenstore::Client& store, Host& host, Patience patience = {})
        : store_(store), host_(host), patience_(patience) {}

    // `backend_domid`: the domain whose backend serves it, dom0 or a driver domain.

    /// Refuses a disk that is absent, or that another guest has in use (two readers may share).
    asio::awaitable<void> check(model::Disk disk, std::uint16_t backend_domid = 0);
    /// Attaches and waits until the backend has opened the disk. Leaves nothing behind when it throws.
    asio::awaitable<std::uint32_t> attach(std::uint16_t domid, model::Disk disk, std::uint16_t backend_domid = 0);
    /// Closes the disk, removes its nodes and waits until its loop device is gone. False, with everything left as it
    /// is, when the guest does not let go (Closing::ByGuest only).
    asio::awaitable<bool> detach(DeviceId id, Closing how);
    /// Has the backend look how large the disk's medium is now and tell the guest. Throws what the backend says.
    asio::awaitable<void> resize(std::uint16_t domid, std::string device);
    asio::awaitable<std::vector<BlockState>> list(std::uint16_t domid);
    /// The device named "xvda" or "51712". Throws when the guest has none of that name.
    asio::awaitable<DeviceId> find(std::uint16_t domid, std::string device);

private:
    asio::awaitable<void> start_server(DeviceId id, model::Disk disk);
    asio::awaitable<void> end_server(DeviceId id);
    asio::awaitable<void> connect(DeviceId id, const OpenDisk& open);

    xenstore::Client& store_;
    Host& host_;
    Patience patience_;
};

} // namespace domus::engine
