// A guest whose work is tasks: drivers, waiting, no handlers of its own. It defines app(), which is the whole guest:
// its return powers the domain off. app.cpp is linked when the guest has no guest_main() of its own.
//
//     Task<void> app(Kit& kit) {
//         Disk disk(kit, 51712);
//         const auto connected = co_await disk.connect();
//         if (!connected) die("no disk");
//         ...
//     }
#pragma once

#include "frontend-drivers/guestkit/drivers/console.hpp"
#include "frontend-drivers/guestkit/drivers/kit.hpp"
#include "frontend-drivers/guestkit/print.hpp"
#include "frontend-drivers/guestkit/start.hpp"

domus::guest::Task<void> app(domus::guest::Kit& kit);

namespace domus::guest {

Console& own_console(); // the domU's console, made at its first use

} // namespace domus::guest
