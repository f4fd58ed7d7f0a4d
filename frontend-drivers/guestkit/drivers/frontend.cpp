// See frontend.hpp.
#include "frontend-drivers/guestkit/drivers/frontend.hpp"

#include <algorithm>
#include <utility>

namespace domus::guest {

Frontend::Frontend(Kit& kit, std::string_view kind, u32 id)
    : kit_(kit), id_(id), home_("device/", kind, "/", id), watch_(kit.platform.tasks) {}

Task<Result<u32>> Frontend::find(Kit& kit, std::string_view kind, u32 nth) {
    const Text<> path("device/", kind);
    CO_LET(names, co_await kit.store.directory(path));
    while (!names.empty()) {
        const std::string_view name(names.data(), std::min(names.size(), names.find('\0')));
        names.remove_prefix(std::min(names.size(), name.size() + 1));
        if (const auto id = to_number(name); id && nth-- == 0)
            co_return static_cast<u32>(*id);
    }
    co_return Err::NoEnt;
}

Task<Result<void>> Frontend::begin() {
    const Text<> home(home_, "/backend"), domain(home_, "/backend-id");
    CO_LET(backend_home, co_await kit_.store.read(home));
    backend_home_ = Text<>(backend_home);
    CO_LET(backend, co_await kit_.store.read_number(domain));
    backend_ = static_cast<u16>(backend);
    if (!watched_) {
        const Text<> state(backend_home_, "/state");
        CO_CHECK(co_await kit_.store.watch(state, watch_));
        watched_ = true;
    }
    // A device that was closed begins anew; the backend looks at this and offers again.
    CO_CHECK(co_await say(XenbusStateInitialising));
    for (;;) {
        const u64 seen = watch_.changed.count(), state = co_await backend_state();
        if (state == XenbusStateUnknown)
            co_return Err::NoDev;
        if (state == XenbusStateInitWait)
            co_return Result<void>();
        co_await watch_.changed.after(seen);
    }
}

Task<Result<void>> Frontend::finish(u64 ready) {
    CO_CHECK(co_await say(ready));
    const u64 state = co_await backend_leaves(XenbusStateInitWait, XenbusStateInitialised);
    if (state != XenbusStateConnected)
        co_return Err::NoDev;
    if (ready == XenbusStateConnected)
        co_return Result<void>();
    co_return co_await say(XenbusStateConnected);
}

Task<Result<void>> Frontend::close() {
    CO_CHECK(co_await say(XenbusStateClosing));
    co_await backend_leaves(XenbusStateConnected, XenbusStateConnected);
    CO_CHECK(co_await say(XenbusStateClosed));
    co_await backend_leaves(XenbusStateClosing, XenbusStateClosing); // some let go of the rings only now
    if (!std::exchange(watched_, false))
        co_return Result<void>();
    const auto unwatched = co_await kit_.store.unwatch(watch_);
    watch_.changed.notify(); // nothing will do that any more: whoever waits looks a last time
    co_return unwatched;
}

Task<Result<void>> Frontend::say(u64 state) {
    return write("state", state);
}

Task<Result<void>> Frontend::write(std::string_view name, std::string_view value) {
    const Text<> path(home_, "/", name);
    co_return co_await kit_.store.write(path, value);
}
Task<Result<void>> Frontend::write(std::string_view name, u64 value) {
    const Text<20> text(value);
    co_return co_await write(name, text.view());
}

Task<Result<void>> Frontend::remove(std::string_view name) {
    const Text<> path(home_, "/", name);
    const auto removed = co_await kit_.store.remove(path);
    if (!removed && removed.error() != Err::NoEnt)
        co_return removed;
    co_return Result<void>();
}

Task<Result<u64>> Frontend::backend_number(std::string_view name) {
    const Text<> path(backend_home_, "/", name);
    co_return co_await kit_.store.read_number(path);
}
Task<u64> Frontend::backend_number(std::string_view name, u64 absent) {
    const auto number = co_await backend_number(name);
    co_return number ? number.value() : absent;
}

Task<u64> Frontend::backend_state() {
    return backend_number("state", XenbusStateUnknown);
}

Task<u64> Frontend::backend_leaves(u64 first, u64 second) {
    for (;;) {
        const u64 seen = watch_.changed.count(), state = co_await backend_state();
        if (state != first && state != second)
            co_return state;
        co_await watch_.changed.after(seen);
    }
}

Task<void> Frontend::gone() {
    co_await backend_leaves(XenbusStateConnected, XenbusStateConnected);
}

} // namespace domus::guest
