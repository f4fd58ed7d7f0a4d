// The echo device's frontend on guestkit. Owner: the guest. No lock: one vcpu; one task at a time may shout().
#pragma once

#include "frontend-drivers/guestkit/drivers/frontend.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"
#include "labs/echo/protocol.hpp"

#include <span>

namespace domus::echo {

using guest::Task;

class Echo {
public:
    Echo(guest::Kit& kit, u32 id) : front_(kit, frontend_kind, id), event_(kit.platform.tasks) {}

    Task<Result<void>> connect();
    // The text in capital letters, in its place. Io: the backend refused; NoDev: it closed the device.
    Task<Result<void>> shout(std::span<char> text);
    Task<Result<void>> close();

private:
    Task<void> watch_backend();

    guest::Frontend front_;
    guest::FrontRing<Request, Response> ring_;
    u8 *page_ = nullptr, *text_ = nullptr;
    u32 ring_reference_ = 0, text_reference_ = 0, port_ = 0, last_id_ = 0;
    guest::Event event_;
    bool connected_ = false;
};

} // namespace domus::echo
