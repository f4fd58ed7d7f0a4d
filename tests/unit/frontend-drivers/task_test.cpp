// Tasks, events and short text of guestkit.
#include "frontend-drivers/guestkit/drivers/task.hpp"
#include "frontend-drivers/guestkit/drivers/text.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>

namespace domus::guest {

void give_up(const char* why) {
    throw std::runtime_error(why);
}

namespace {

Task<int> doubled(Event& event, int n) {
    co_await event.wait();
    co_return n * 2;
}
Task<Result<int>> checked(bool good) {
    if (!good)
        co_return Err::NoEnt;
    co_return 7;
}
Task<Result<int>> sum(bool good) {
    CO_LET(value, co_await checked(true));
    CO_CHECK(co_await checked(good));
    co_return value + 1;
}
Task<void> note(std::string& said, std::string_view what, Event& event) {
    said += what;
    co_await event.wait();
    said += what;
}

TEST(Task, RunsToItsFirstWaitAndGoesOnWhenReady) {
    Scheduler tasks;
    Event event(tasks);
    int result = 0;
    tasks.start([](Event& e, int& r) -> Task<void> { r = co_await doubled(e, 4); }(event, result));
    EXPECT_FALSE(tasks.run());
    event.notify();
    EXPECT_EQ(result, 0) << "notify() itself runs nothing";
    EXPECT_TRUE(tasks.run());
    EXPECT_EQ(result, 8);
}

TEST(Task, GoesOnInTheOrderOfWaiting) {
    Scheduler tasks;
    Event event(tasks);
    std::string said;
    tasks.start(note(said, "a", event));
    tasks.start(note(said, "b", event));
    event.notify();
    tasks.run();
    EXPECT_EQ(said, "abab");
}

TEST(Task, ResultsPassThroughTheMacros) {
    Scheduler tasks;
    Err error{};
    int value = 0;
    tasks.start([](Err& e, int& v) -> Task<void> {
        const auto first = co_await sum(true), second = co_await sum(false);
        v = first ? first.value() : 0;
        e = second ? Err{} : second.error();
    }(error, value));
    EXPECT_EQ(value, 8);
    EXPECT_EQ(error, Err::NoEnt);
}

TEST(Event, IsKeptWhenNobodyWaits) {
    Scheduler tasks;
    Event event(tasks);
    std::string said;
    event.notify();
    tasks.start(note(said, "a", event));
    EXPECT_EQ(said, "aa");
    tasks.start(note(said, "b", event));
    EXPECT_EQ(said, "aab") << "it is kept once";
}

TEST(Event, AfterSeesWhatHappenedDuringALookThatWaited) {
    Scheduler tasks;
    Event event(tasks), look(tasks);
    int rounds = 0;
    const auto follow = [](Event& e, Event& l, int& n) -> Task<void> {
        for (;;) {
            const u64 seen = e.count();
            co_await l.wait();
            ++n;
            co_await e.after(seen);
        }
    };
    tasks.start(follow(event, look, rounds));
    event.notify(); // while it looks
    look.notify();
    tasks.run();
    look.notify();
    tasks.run();
    EXPECT_EQ(rounds, 2);
}

TEST(Scheduler, EndsWhatStillWaitsWhicheverGoesFirst) {
    auto tasks = std::make_unique<Scheduler>();
    auto event = std::make_unique<Event>(*tasks);
    std::string said;
    for (const char* name : {"a", "b", "c"})
        tasks->start(note(said, name, *event));
    event.reset();
    tasks.reset();
    EXPECT_EQ(said, "abc");
}

TEST(TaskLock, OneAtATime) {
    Scheduler tasks;
    TaskLock lock(tasks);
    Event event(tasks);
    std::string said;
    const auto user = [](TaskLock& l, Event& e, std::string& s, char name) -> Task<void> {
        co_await l.take();
        s += name;
        co_await e.wait();
        s += name;
        l.give();
    };
    for (const char name : {'a', 'b', 'c'})
        tasks.start(user(lock, event, said, name));
    for (int i = 0; i < 3; ++i) {
        event.notify();
        tasks.run();
    }
    EXPECT_EQ(said, "aabbcc");
}

TEST(Text, PiecesAndNumbers) {
    EXPECT_EQ(Text<>("device/", "vbd", "/", u32{51712}).view(), "device/vbd/51712");
    EXPECT_EQ(Text<>(u64{0}).view(), "0");
    EXPECT_EQ(Text<4>("too long").view(), "too ");
    EXPECT_TRUE(Text<4>("too long").full());
    EXPECT_EQ(to_number("18446744073709551615"), std::nullopt); // a few of the largest are refused too
    EXPECT_EQ(to_number("4096"), 4096u);
    for (const char* bad : {"", "-1", " 1", "1 ", "0x10", "99999999999999999999"})
        EXPECT_EQ(to_number(bad), std::nullopt) << bad;
}

} // namespace
} // namespace domus::guest
