// See console.hpp.
#include "frontend-drivers/guestkit/drivers/console.hpp"

namespace domus::guest {

Console::Console(Platform& platform, xencons_interface* ring, u32 port)
    : platform_(platform), ring_(ring), port_(port), event_(platform.tasks) {
    platform_.follow_port(port_, event_);
}

Task<void> Console::write(std::string_view text) {
    while (!text.empty()) {
        u32 produced = ring_->out_prod;
        const u32 read = __atomic_load_n(&ring_->out_cons, __ATOMIC_ACQUIRE);
        for (; !text.empty() && produced - read < sizeof ring_->out; text.remove_prefix(1))
            ring_->out[produced++ % sizeof ring_->out] = text.front();
        __atomic_store_n(&ring_->out_prod, produced, __ATOMIC_RELEASE);
        platform_.notify(port_);
        if (!text.empty())
            co_await event_.wait();
    }
}

Task<void> Console::read_line(Text<256>& line) {
    line = {};
    for (;;) {
        u32 consumed = ring_->in_cons;
        const u32 written = __atomic_load_n(&ring_->in_prod, __ATOMIC_ACQUIRE);
        bool whole = false;
        while (consumed != written && !whole) {
            const char c = ring_->in[consumed++ % sizeof ring_->in];
            whole = c == '\n' || c == '\r';
            if (!whole)
                line.add(std::string_view(&c, 1));
        }
        __atomic_store_n(&ring_->in_cons, consumed, __ATOMIC_RELEASE);
        platform_.notify(port_);
        if (whole)
            co_return;
        co_await event_.wait();
    }
}

} // namespace domus::guest
