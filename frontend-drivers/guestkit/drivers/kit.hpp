// What every driver of the kit is given: the machine, the guest's grants, its xenstore. Owner: the guest (app.cpp) or a
// test. Made once; drivers keep a reference. No lock: one vcpu.
#pragma once

#include "frontend-drivers/guestkit/drivers/grants.hpp"
#include "frontend-drivers/guestkit/drivers/xenstore.hpp"

namespace domus::guest {

struct Kit {
    Platform& platform;
    GrantTable grants;
    Xenstore store;

    Kit(Platform& p, xenstore_domain_interface* ring, u32 port) : platform(p), grants(p), store(p, ring, port) {}
    Kit(const Kit&) = delete;
};

} // namespace domus::guest
