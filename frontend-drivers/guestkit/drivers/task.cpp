// The scheduler, and where coroutine frames come from. See task.hpp.
#include "frontend-drivers/guestkit/drivers/task.hpp"

namespace domus::guest {

// A started task: a coroutine around it that nobody awaits. It is in the scheduler's list until it has ended.
struct Scheduler::Root {
    struct promise_type : FrameFromArena, Link {
        promise_type(Scheduler& scheduler, Task<void>&) { join_before(scheduler.roots_); }
        Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; } // and so it destroys itself
        void return_void() {}
        void unhandled_exception() { give_up("a task threw"); }
    };
    std::coroutine_handle<promise_type> handle;
};

Scheduler::Root Scheduler::follow(Scheduler&, Task<void> task) {
    co_await task;
}

void Scheduler::start(Task<void> task) {
    follow(*this, std::move(task)).handle.resume();
}

bool Scheduler::run() {
    const bool any = !ready_.alone();
    while (!ready_.alone()) {
        auto& waiter = static_cast<Waiter&>(*ready_.next);
        waiter.leave();
        waiter.handle.resume();
    }
    return any;
}

Scheduler::~Scheduler() {
    while (!roots_.alone()) {
        auto& root = static_cast<Root::promise_type&>(*roots_.next);
        std::coroutine_handle<Root::promise_type>::from_promise(root).destroy();
    }
}

#if __STDC_HOSTED__
void* take_coroutine_frame(usize bytes) {
    return ::operator new(bytes); // where a sanitizer sees what is used after its end
}
void give_coroutine_frame(void* frame, usize) noexcept {
    ::operator delete(frame);
}
#else
namespace {

// Frames by powers of two, 128 bytes to 4 KiB; a frame that was given back serves the next of its size.
constexpr usize smallest = 128, sizes = 6, arena_bytes = 128 * 1024;
struct FreeFrame {
    FreeFrame* next;
};
alignas(16) u8 arena[arena_bytes];
usize arena_used;
FreeFrame* free_frames[sizes];

usize size_class(usize bytes) {
    usize index = 0;
    while (index < sizes && smallest << index < bytes)
        ++index;
    return index;
}

} // namespace

void* take_coroutine_frame(usize bytes) {
    const usize index = size_class(bytes);
    if (index == sizes)
        give_up("a coroutine's frame is larger than 4 KiB");
    if (FreeFrame* frame = free_frames[index]) {
        free_frames[index] = frame->next;
        return frame;
    }
    if (arena_used + (smallest << index) > arena_bytes)
        give_up("the arena of coroutine frames is used up");
    return arena + std::exchange(arena_used, arena_used + (smallest << index));
}

void give_coroutine_frame(void* frame, usize bytes) noexcept {
    FreeFrame*& first = free_frames[size_class(bytes)];
    first = new (frame) FreeFrame{first};
}
#endif

} // namespace domus::guest
