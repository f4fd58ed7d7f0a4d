// Devices as domus shows them: both ends' nodes from the store, figures from files in a root of the test's own.
#include "tests/unit/toolstack/fake/world.hpp"

#include "backend-drivers/common/stats.hpp"
#include "toolstack/engine/linux_host.hpp"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace domus::engine {
namespace {

using testing::HasSubstr;

struct FiguresTest : testing::Test {
    test::World world;
    std::string root = world.folder + "/root";
    LinuxHost host{root};

    void file(const std::string& path, const std::string& text) const {
        std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
        std::ofstream(root + path) << text;
    }
    std::uint64_t value(const Figures& figures, const std::string& name) const {
        for (const auto& figure : figures.list)
            if (figure.name == name)
                return figure.value;
        ADD_FAILURE() << "no figure " << name;
        return 0;
    }
};

TEST_F(FiguresTest, OurBackendsSayThemselves) {
    EXPECT_THAT(host.device_figures("domus-vif", 3, 0).missing, HasSubstr("domus-netd has no figures"));
    std::filesystem::create_directories(root + "/run/domus/stats/domus-vif");
    backend::Stats stats(root + "/run/domus/stats/domus-vif/3-0");
    backend::RingFigures ring(stats, "q0.tx_");
    ring.events.add(7);
    ring.taken.set(4);
    const auto figures = host.device_figures("domus-vif", 3, 0);
    EXPECT_EQ(figures.pid, std::uint32_t(::getpid()));
    EXPECT_EQ(figures.missing, "");
    EXPECT_FALSE(figures.gone);
    EXPECT_EQ(value(figures, "q0.tx_events"), 7u);
    EXPECT_EQ(value(figures, "q0.tx_req_cons"), 4u);
    EXPECT_FALSE(figures.list.back().counts) << "an index is no count";
    file("/run/domus/stats/domus-vbd/3-1", "nonsense");
    EXPECT_THAT(host.device_figures("domus-vbd", 3, 1).missing, HasSubstr("no figures of a device"));
}

TEST_F(FiguresTest, AServerThatWasKilledIsSaidToBeGone) {
    std::filesystem::create_directories(root + "/run/domus/stats/domus-vif");
    const auto child = ::fork();
    if (child == 0) {
        backend::Stats stats(root + "/run/domus/stats/domus-vif/3-0");
        backend::RingFigures(stats, "q0.tx_").taken.set(4);
        ::_exit(0); // as by kill -9: the file stays
    }
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    const auto figures = host.device_figures("domus-vif", 3, 0);
    EXPECT_EQ(figures.pid, std::uint32_t(child));
    EXPECT_TRUE(figures.gone);
    EXPECT_THAT(figures.missing, HasSubstr(fmt::format("domus-netd (process {}) has ended", child)));
    EXPECT_EQ(value(figures, "q0.tx_req_cons"), 4u) << "where it stood";
}

TEST_F(FiguresTest, LinuxsBackendsAreReadAsFarAsTheySay) {
    EXPECT_THAT(host.device_figures("vbd", 3, 51712).missing, HasSubstr("has not taken the disk"));
    EXPECT_THAT(host.device_figures("vif", 3, 0).missing, HasSubstr("has not taken the card"));
    file("/sys/bus/xen-backend/devices/vbd-3-51712/statistics/rd_req", "5\n");
    file("/sys/bus/xen-backend/devices/vbd-3-51712/statistics/rd_sect", "16\n");
    const auto disk = host.device_figures("vbd", 3, 51712);
    EXPECT_EQ(value(disk, "reads"), 5u);
    EXPECT_EQ(value(disk, "read_bytes"), 8192u);
    EXPECT_THAT(disk.missing, HasSubstr("does not say its ring's indices"));
    file("/sys/class/net/vif3.0/statistics/rx_packets", "9\n");
    file("/sys/class/net/vif3.0/statistics/tx_bytes", "100\n");
    const auto card = host.device_figures("vif", 3, 0);
    EXPECT_EQ(value(card, "tx_packets"), 9u) << "what the interface receives the guest has sent";
    EXPECT_EQ(value(card, "rx_bytes"), 100u);
}

TEST_F(FiguresTest, BothEndsNodes) {
    const auto domid = world.create(world.guest("web"));
    world.store->write("/local/domain/1/device/vif/0/request-rx-copy", "1");
    world.store->write("/local/domain/1/device/vif/0/feature-sg", std::string(500, 'x'));
    world.store->write("/local/domain/0/error/backend/vif/1/0/error", "no luck");
    world.host.figures["vif-1-0"] = Figures{{{"tx_packets", 3, true}}, 0, false, "the rest"};
    const auto all = world.run(look_at_devices(*world.client, world.host, domid, ""));
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].device, "xvda");
    const auto one = world.run(look_at_devices(*world.client, world.host, domid, "vif0"));
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].kind, "vif");
    EXPECT_EQ(one[0].error, "no luck");
    EXPECT_THAT(one[0].wanted, testing::Contains(Feature("request-rx-copy", "1")));
    EXPECT_THAT(one[0].wanted, testing::Contains(Feature("feature-sg", std::string(80, 'x'))));
    EXPECT_EQ(one[0].figures.missing, "the rest");
    EXPECT_EQ(world.run(look_at_devices(*world.client, world.host, {}, "")).size(), 2u);
    EXPECT_EQ(world.failure(look_at_devices(*world.client, world.host, domid, "vif7")),
              "domain 1 has no device vif7; it has xvda, vif0");
}

} // namespace
} // namespace domus::engine
