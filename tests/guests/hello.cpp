// The smallest guest: says where it is and what it was given, then powers off.
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/time.hpp"

using namespace domus::guest;

void guest_main() {
    print("hello from %s on %s, %lu pages, command line \"%s\"\n", is_dom0() ? "dom0" : "a domU", boot_info->magic,
          boot_info->nr_pages, command_line().data());
    check(std::string_view(boot_info->magic).starts_with("xen-"), "magic", "%s", boot_info->magic);
    check(boot_info->nr_pages > 256, "memory", "%lu pages", boot_info->nr_pages);
    const auto* page = take_page();
    check(pfn_of(mfn_of(page)) == pfn_of(page), "p2m_and_m2p_agree");
    const auto before = system_time();
    check(system_time() >= before, "clock_runs");
    finish();
}
