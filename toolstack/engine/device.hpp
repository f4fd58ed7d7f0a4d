// What disks and network cards have in common: finding them in xenstore and closing them.
// Owner: the engine. No lock; the engine's turn of the guest is held. Trusts backend nodes only: those of the
// frontend are the guest's.
#pragma once

#include "toolstack/engine/xenbus.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace domus::engine {

/// How long domusd waits for others before it gives up or helps itself. Tests wait less.
struct Patience {
    std::chrono::milliseconds backend{10'000}; // dom0's driver takes a new device and opens it
    std::chrono::milliseconds guest{10'000};   // a guest lets go of a device
    std::chrono::milliseconds force{5'000};    // dom0's driver lets go of a device without the guest
    std::chrono::milliseconds release{5'000};  // loop device or interface is gone
};

struct DeviceId {
    std::uint16_t domid = 0;
    std::uint32_t devid = 0;
    std::uint16_t backend_domid = 0; ///< whose backend serves it: dom0's, or a driver domain's
};

std::string backend_path(std::string_view kind, DeviceId id);
/// Where a backend says why it gave the device up.
std::string error_path(std::string_view kind, DeviceId id);

/// Devices of one guest, or of all, that have a backend of `kind` ("vbd", "vif"): Linux's or ours in dom0, or ours in a
/// driver domain.
asio::awaitable<std::vector<DeviceId>> devices_of(xenstore::Client& store, std::string kind, std::uint16_t domid);
asio::awaitable<std::vector<DeviceId>> all_devices(xenstore::Client& store, std::string kind);

/// Devices that a driver domain serves to others.
asio::awaitable<std::vector<DeviceId>> served_by(xenstore::Client& store, std::string kind,
                                                 std::uint16_t backend_domid);

/// `kind`, or "domus-" and `kind` when it is our backend that has this device.
asio::awaitable<std::string> backend_kind(xenstore::Client& store, std::string kind, DeviceId id);

/// Waits until the backend driver has taken the new device (InitWait, or on). Throws with what to do when it does
/// not.
asio::awaitable<void> wait_backend(xenstore::Client& store, std::string kind, DeviceId id,
                                   std::chrono::milliseconds limit);

/// Who brings the frontend to Closed: the guest, or (dead or forced) the toolstack in its place.
enum class Closing { ByGuest, ByForce };

/// Closes a device: backend offline and Closing, then the frontend Closed, until the backend is Closed or patience is
/// over. False: the guest has not let it go, and it is still there.
asio::awaitable<bool> close_device(xenstore::Client& store, std::string kind, DeviceId id, Closing how,
                                   Patience patience);

/// Throws why a device is still there after close_device() said false: `device` as the user called it. Whose fault it
/// is the frontend's state says: a backend that is gone keeps a device open that its guest has long closed.
asio::awaitable<void> refuse_open(xenstore::Client& store, std::string kind, DeviceId id, std::string device);

/// Removes a closed device's nodes.
asio::awaitable<void> remove_device(xenstore::Client& store, std::string kind, DeviceId id);

/// Name of a guest for messages: "web (domain 3)".
asio::awaitable<std::string> guest_text(xenstore::Client& store, std::uint16_t domid);

} // namespace domus::engine
