// The kit's machine as a domU has it, and the loop of a guest of tasks. See app.hpp. Runs on vcpu 0. Events stay masked
// while tasks run, and are delivered only in between: a task is never interrupted.
#include "frontend-drivers/guestkit/app.hpp"

#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/time.hpp"

#include <cstring>

namespace domus::guest {

void give_up(const char* why) {
    die("%s", why);
}

namespace {

constexpr u32 most_ports = 1024, most_grant_frames = 4, entries_per_frame = page_size / sizeof(grant_entry_v1_t);
static_assert(most_grant_frames * entries_per_frame <= GrantTable::most);
Event* followers[most_ports];

void happened(u32 port) {
    if (followers[port] != nullptr)
        followers[port]->notify();
}

class ThisDomain final : public Platform {
public:
    ThisDomain();
    Result<u8*> take_pages(u32 count) override;
    void give_page(void* page) override;
    Mfn frame_of(const void* address) const override { return mfn_of(address); }
    grant_entry_v1_t* grant_table() override { return reinterpret_cast<grant_entry_v1_t*>(grant_pages_); }
    u32 grant_entries() const override { return grant_frames_ * entries_per_frame; }
    Result<u32> open_port(u16 other, Event& event) override;
    void follow_port(u32 port, Event& event) override;
    void close_port(u32 port) override;
    void notify(u32 port) override { guest::notify(port); }
    u64 now() override { return system_time(); }
    void say(std::string_view text) override { print("%.*s", static_cast<int>(text.size()), text.data()); }

private:
    struct FreePage {
        FreePage* next;
    };
    alignas(page_size) u8 grant_pages_[most_grant_frames][page_size];
    u32 grant_frames_ = most_grant_frames;
    FreePage* free_ = nullptr;
};

ThisDomain::ThisDomain() {
    gnttab_query_size_t size{DOMID_SELF, 0, 0, 0};
    if (grant_op(GNTTABOP_query_size, &size, 1) == 0 && size.status == GNTST_okay && size.max_nr_frames < grant_frames_)
        grant_frames_ = size.max_nr_frames;
    xen_pfn_t frames[most_grant_frames] = {};
    gnttab_setup_table_t setup{DOMID_SELF, grant_frames_, 0, {frames}};
    if (const long error = grant_op(GNTTABOP_setup_table, &setup, 1); error || setup.status != GNTST_okay)
        die("no grant table: %ld, status %d", error, setup.status);
    for (u32 i = 0; i < grant_frames_; ++i)
        if (const long error = map_page(grant_pages_[i], Mfn(frames[i]), pte_writable))
            die("cannot map the grant table: %ld", error);
}

Result<u8*> ThisDomain::take_pages(u32 count) {
    if (count == 1 && free_ != nullptr) {
        void* page = std::exchange(free_, free_->next);
        return static_cast<u8*>(std::memset(page, 0, page_size));
    }
    if (count > pages_left())
        return Err::NoMem;
    auto* first = static_cast<u8*>(take_page()); // the pool gives one after the other
    for (u32 i = 1; i < count; ++i)
        take_page();
    return first;
}

void ThisDomain::give_page(void* page) {
    free_ = new (page) FreePage{free_};
}

Result<u32> ThisDomain::open_port(u16 other, Event& event) {
    const long port = allocate_unbound(other);
    if (port < 0)
        return static_cast<Err>(-port);
    follow_port(static_cast<u32>(port), event);
    return static_cast<u32>(port);
}

void ThisDomain::follow_port(u32 port, Event& event) {
    if (port >= most_ports)
        die("port %u is beyond what this guest follows", port);
    followers[port] = &event;
    on_event(port, happened);
}

void ThisDomain::close_port(u32 port) {
    mask_port(port);
    followers[port % most_ports] = nullptr;
    guest::close_port(port);
}

// They live as long as the guest, without destructors at an exit that never comes.
alignas(ThisDomain) u8 machine_storage[sizeof(ThisDomain)];
alignas(Kit) u8 kit_storage[sizeof(Kit)];
alignas(Console) u8 console_storage[sizeof(Console)];
Console* console;

Task<void> whole(Kit& kit, bool& ended) {
    co_await app(kit);
    ended = true;
}

// The ring dies with the domain: waits until all was read, but not for ever.
void let_console_be_read() {
    if (is_dom0() || boot_info->console.domU.mfn == 0)
        return;
    auto* ring = console_ring();
    evtchn_port_t port = boot_info->console.domU.evtchn;
    const u64 deadline = system_time() + 2'000'000'000;
    while (__atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE) != ring->out_prod && system_time() < deadline) {
        clear_pending(port);
        sched_poll_t poll{{&port}, 1, deadline};
        if (__atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE) != ring->out_prod)
            sched_op(SCHEDOP_poll, &poll);
    }
}

} // namespace

Console& own_console() {
    if (console == nullptr)
        console = new (console_storage)
            Console(*reinterpret_cast<ThisDomain*>(machine_storage), console_ring(), boot_info->console.domU.evtchn);
    return *console;
}

} // namespace domus::guest

void guest_main() {
    using namespace domus;
    using namespace domus::guest;
    mask_events();
    auto& machine = *new (machine_storage) ThisDomain;
    auto* store = static_cast<xenstore_domain_interface*>(address_of(Mfn(boot_info->store_mfn)));
    auto& kit = *new (kit_storage) Kit(machine, store, boot_info->store_evtchn);
    kit.store.start();
    bool ended = false;
    machine.tasks.start(whole(kit, ended));
    for (;;) {
        machine.tasks.run();
        if (ended)
            return let_console_be_read();
        poll_events();
        if (machine.tasks.idle()) {
            block();
            mask_events();
        }
    }
}
