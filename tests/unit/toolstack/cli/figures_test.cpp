// ring and device-stats: what they print, and rates between two looks.
#include "tests/unit/toolstack/cli/program.hpp"
#include "toolstack/cli/figures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

void set(proto::DeviceView& view, const std::string& name, std::uint64_t value, bool counts = true) {
    auto* figure = view.add_figures();
    figure->set_name(name);
    figure->set_value(value);
    figure->set_counts(counts);
}

proto::DeviceView disk(std::uint64_t reads, std::uint64_t seconds) {
    proto::DeviceView view;
    view.set_domid(3);
    view.set_guest("web");
    view.set_device("xvda");
    view.set_kind("domus-vbd");
    view.set_backend_state("Connected");
    view.set_pid(99);
    view.set_time_ns(seconds * 1'000'000'000);
    set(view, "grants", 4, false);
    for (const std::string queue : {"q0.", "q1."}) {
        set(view, queue + "reads", reads);
        set(view, queue + "read_bytes", reads * 4096);
        set(view, queue + "req_cons", 2, false);
        set(view, queue + "rsp_prod", 0xffffffff, false);
        set(view, queue + "events", 6);
    }
    return view;
}

TEST(FiguresText, Ring) {
    auto now = disk(30, 12), before = disk(10, 10);
    now.add_offered()->set_name("feature-sg");
    now.mutable_offered(0)->set_value("1");
    now.set_missing("the weather");
    const auto text = ring_text(now, &before);
    EXPECT_THAT(text, HasSubstr("process 99"));
    EXPECT_THAT(text, HasSubstr("feature-sg                     1                    -"));
    EXPECT_THAT(text, HasSubstr("q1              0          2 4294967295          3            6"));
    EXPECT_THAT(text, HasSubstr("grants held                             4\n"));
    EXPECT_THAT(text, HasSubstr("q0.reads                               30           10.0/s"));
    EXPECT_THAT(text, HasSubstr("Not known: the weather."));
    EXPECT_THAT(ring_text(now), Not(HasSubstr("/s\n")));
}

TEST(FiguresText, RatesOfAllQueues) {
    proto::DeviceViews before, now;
    *before.add_devices() = disk(10, 10);
    *now.add_devices() = disk(30, 12);
    const auto stats = rates(before, now);
    ASSERT_EQ(stats.devices_size(), 1);
    EXPECT_EQ(stats.devices(0).in_per_s(), 20);
    EXPECT_EQ(stats.devices(0).in_bytes_per_s(), 20 * 4096);
    EXPECT_EQ(stats.devices(0).in_flight(), 6u);
    EXPECT_FALSE(stats.devices(0).has_dropped());
    EXPECT_THAT(stats_text(stats), HasSubstr("web              xvda     domus-vbd  Connected          20       80K"));
}

TEST(FiguresText, AServerThatBeganAnewHasNoRatesYet) {
    proto::DeviceViews before, now;
    *before.add_devices() = disk(1000, 10);
    *now.add_devices() = disk(30, 12);
    EXPECT_FALSE(rates(before, now).devices(0).has_in_per_s()) << "it fell";
    now.mutable_devices(0)->set_pid(100);
    EXPECT_FALSE(rates(before, now).devices(0).has_in_bytes_per_s());
    EXPECT_FALSE(rates({}, now).devices(0).has_in_per_s()) << "a new device";
}

TEST(FiguresText, AServerThatIsGoneIsNotIdle) {
    proto::DeviceViews before, now;
    *before.add_devices() = disk(10, 10);
    *now.add_devices() = disk(10, 12);
    now.mutable_devices(0)->set_server_gone(true);
    EXPECT_THAT(ring_text(now.devices(0)), HasSubstr("Connected, in domain 0, process 99 (has ended)"));
    const auto stats = rates(before, now);
    EXPECT_FALSE(stats.devices(0).has_in_per_s()) << "not zero: nobody counts";
    EXPECT_TRUE(stats.devices(0).server_gone());
    EXPECT_THAT(stats_text(stats), HasSubstr("domus-vbd  no server           -"));
}

using FigureVerbs = ProgramTest;

TEST_F(FigureVerbs, Ring) {
    EXPECT_EQ(domus({"create", config("web")}).status, 0);
    world.host.figures["domus-vbd-1-51712"] = engine::Figures{{{"reads", 5, true}}, 0, false, "the rest"};
    const Ran ran = domus({"ring", "web", "xvda"});
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_THAT(ran.out, HasSubstr("xvda of web (domain 1): domus-vbd, /local/domain/0/backend/domus-vbd/1/51712"));
    EXPECT_THAT(ran.out, HasSubstr("Not known: the rest."));
    const auto view = json<proto::DeviceView>({"ring", "web", "51712"});
    EXPECT_EQ(view.figures(0).value(), 5u);
    EXPECT_EQ(view.guest(), "web");
    const Ran twice = domus({"ring", "web", "vif0", "--watch", "--times", "2", "--interval", "0.05"});
    EXPECT_EQ(twice.status, 0) << twice.err;
    EXPECT_NE(twice.out.find("vif0 of web"), twice.out.rfind("vif0 of web"));
}

TEST_F(FigureVerbs, RingOfWhatIsNotThere) {
    EXPECT_EQ(domus({"create", config("web")}).status, 0);
    const Ran no_guest = domus({"ring", "absent", "xvda"});
    EXPECT_EQ(no_guest.status, 1);
    EXPECT_THAT(no_guest.err, HasSubstr("there is no guest called absent"));
    const Ran no_device = domus({"ring", "web", "xvdq"});
    EXPECT_EQ(no_device.status, 1);
    EXPECT_THAT(no_device.err, HasSubstr("domain 1 has no device xvdq; it has xvda, vif0"));
    EXPECT_EQ(domus({"ring", "web"}).status, 2);
    EXPECT_EQ(domus({"device-stats", "--interval", "0"}).status, 2);
    const Ran no_watch = domus({"device-stats", "--times", "2"});
    EXPECT_EQ(no_watch.status, 2) << "it would look once only";
    EXPECT_THAT(no_watch.err, HasSubstr("--times requires --watch"));
}

TEST_F(FigureVerbs, DeviceStats) {
    EXPECT_THAT(domus({"device-stats", "--interval", "0.05"}).out, testing::StartsWith("Guest "));
    EXPECT_EQ(domus({"create", config("web")}).status, 0);
    world.host.figures["vif-1-0"] = engine::Figures{{{"tx_packets", 5, true}, {"tx_dropped", 2, true}}, 0, false, ""};
    const auto stats = json<proto::DeviceStats>({"device-stats", "web", "--interval", "0.05"});
    ASSERT_EQ(stats.devices_size(), 2);
    EXPECT_EQ(stats.devices(1).out_per_s(), 0);
    EXPECT_EQ(stats.devices(1).dropped(), 2u);
    EXPECT_FALSE(stats.devices(0).has_out_per_s()) << "nobody says";
    EXPECT_EQ(domus({"device-stats", "absent"}).status, 1);
}

} // namespace
} // namespace domus::cli
