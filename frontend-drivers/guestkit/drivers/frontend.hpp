// The frontend's half of XenBus (<xen/io/xenbus.h>), shared by every device of the kit: where the two halves' nodes
// are, both states, and the steps of connecting. Owner: the device's driver. No lock: one vcpu.
//
//     backend                          frontend
//     InitWait    <- its features      begin(): waits for it
//                                      offer nodes (ring-ref, event-channel), finish(): Initialised, waits
//     Connected   <- its figures       Connected
//     Closing or Closed: gone()        close(): Closing, waits for Closing; Closed, waits for Closed
#pragma once

#include "frontend-drivers/guestkit/drivers/kit.hpp"

#include <xen/io/xenbus.h>

namespace domus::guest {

class Frontend {
public:
    // `kind` as in xenstore: "vbd", "vif". Nothing happens before begin().
    Frontend(Kit& kit, std::string_view kind, u32 id);

    // The device's id, counted from the first of this kind. NoEnt: there are not that many.
    static Task<Result<u32>> find(Kit& kit, std::string_view kind, u32 nth = 0);

    // Reads who the backend is, and waits until it has published what it offers.
    Task<Result<void>> begin();
    // Says Initialised, waits until the backend serves, says Connected. `ready`: a kind whose backends look at
    // Connected only (network cards) says that at once.
    Task<Result<void>> finish(u64 ready = XenbusStateInitialised);
    // Closing, then Closed, each until the backend has followed. After that the rings' pages are the guest's again, and
    // nothing in the store is watched: the store lets a guest have only so many watches, so do it before destroying.
    Task<Result<void>> close();

    Task<Result<void>> write(std::string_view name, std::string_view value);
    Task<Result<void>> write(std::string_view name, u64 value);
    Task<Result<void>> remove(std::string_view name); // one that is not there, too
    // A node of the backend's. `absent`: its value where the backend says nothing.
    Task<Result<u64>> backend_number(std::string_view name);
    Task<u64> backend_number(std::string_view name, u64 absent);

    Kit& kit() { return kit_; }
    u16 backend() const { return backend_; }
    u32 id() const { return id_; }
    // The backend's state now, XenbusStateUnknown when there is none.
    Task<u64> backend_state();
    // Waits until the backend's state is neither of these two any more.
    Task<u64> backend_leaves(u64 first, u64 second);
    // Waits until it is no longer Connected: it closes the device, or is gone.
    Task<void> gone();

private:
    Task<Result<void>> say(u64 state);

    Kit& kit_;
    u32 id_;
    u16 backend_ = 0;
    Text<> home_, backend_home_;
    Watch watch_;
    bool watched_ = false;
};

} // namespace domus::guest
