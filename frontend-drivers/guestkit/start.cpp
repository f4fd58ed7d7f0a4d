// First C++ of a mini guest: finds its memory, maps shared_info, installs traps and the event callback, then runs
// guest_main(). Runs once, on vcpu 0, with events masked until the end.
#include "frontend-drivers/guestkit/start.hpp"

#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/print.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

#include <cstdarg>

extern "C" void (*init_array_start[])();
extern "C" void (*init_array_end[])();

namespace domus::guest {

const start_info_t* boot_info;
shared_info_t* shared;

namespace {
alignas(page_size) u8 shared_info_page[page_size];
}

std::string_view command_line() {
    return reinterpret_cast<const char*>(boot_info->cmd_line);
}
bool is_dom0() {
    return (boot_info->flags & SIF_INITDOMAIN) != 0;
}

void shut_down(unsigned reason) {
    sched_shutdown_t argument{reason};
    for (;;)
        sched_op(SCHEDOP_shutdown, &argument);
}

void die(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print("guest dies: ");
    vprint(format, arguments);
    print("\n");
    va_end(arguments);
    shut_down(SHUTDOWN_crash);
}

extern "C" void guestkit_start(const start_info_t* given) {
    boot_info = given;
    for (auto constructor = init_array_start; constructor != init_array_end; ++constructor)
        (*constructor)();
    shared = reinterpret_cast<shared_info_t*>(shared_info_page);
    if (long error = map_page(shared_info_page, Mfn(given->shared_info >> page_shift), pte_writable))
        die("cannot map shared_info: %ld", error);
    install_traps();
    install_events();
    guest_main();
    shut_down(SHUTDOWN_poweroff);
}

} // namespace domus::guest
