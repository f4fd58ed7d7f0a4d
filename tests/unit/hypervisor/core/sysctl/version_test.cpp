// xen_version: every sub-operation.
#include "hypervisor/core/version.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {
namespace {

struct Version : MachineTest {
    Domain& zero = m.make_domain(0, 1, true);
    Domain& guest = m.make_domain(3);

    i64 ask(Domain& d, i32 command, void* argument) {
        Call c = m.call(d);
        const auto result = xen_version(c, command, {reinterpret_cast<u64>(argument)});
        return result ? result.value() : minus(result.error());
    }
};

TEST_F(Version, Numbers) {
    EXPECT_EQ(ask(guest, XENVER_version, nullptr), 4 << 16 | 17);
    EXPECT_EQ(ask(guest, XENVER_pagesize, nullptr), 4096);
    xen_extraversion_t extra;
    EXPECT_EQ(ask(guest, XENVER_extraversion, extra), 0);
    EXPECT_STREQ(extra, ".0-domus");
    xen_capabilities_info_t capabilities;
    EXPECT_EQ(ask(guest, XENVER_capabilities, capabilities), 0);
    EXPECT_STREQ(capabilities, "xen-3.0-x86_64 ");
    xen_platform_parameters_t platform;
    EXPECT_EQ(ask(guest, XENVER_platform_parameters, &platform), 0);
    EXPECT_EQ(platform.virt_start, 0xffff800000000000u);
    EXPECT_EQ(ask(guest, XENVER_build_id, nullptr), minus(Err::NoData));
    EXPECT_EQ(ask(guest, 11, nullptr), minus(Err::NoSys));
    EXPECT_EQ(ask(guest, -1, nullptr), minus(Err::NoSys));
    EXPECT_EQ(ask(guest, XENVER_capabilities, nullptr), minus(Err::Fault));
}

TEST_F(Version, Features) {
    xen_feature_info_t info{.submap_idx = 0};
    EXPECT_EQ(ask(guest, XENVER_get_features, &info), 0);
    EXPECT_EQ(info.submap, 0x220f0u);
    EXPECT_EQ(ask(zero, XENVER_get_features, &info), 0);
    EXPECT_EQ(info.submap, 0x228f0u) << "as Debian's kernel sees it as dom0 of Xen 4.17";
    info.submap_idx = 1;
    EXPECT_EQ(ask(guest, XENVER_get_features, &info), minus(Err::Inval));
}

TEST_F(Version, CommandLineIsDom0s) {
    set_command_line("dom0_mem=512M secret");
    xen_commandline_t text;
    EXPECT_EQ(ask(zero, XENVER_commandline, text), 0);
    EXPECT_STREQ(text, "dom0_mem=512M secret");
    EXPECT_EQ(ask(guest, XENVER_commandline, text), 0);
    EXPECT_STREQ(text, "<denied>");
    set_command_line(std::string(5000, 'x'));
    EXPECT_EQ(command_line().size(), 1023u);
}

TEST_F(Version, HandleIsTheCallersOwn) {
    guest.handle[3] = 9;
    xen_domain_handle_t handle{};
    EXPECT_EQ(ask(guest, XENVER_guest_handle, handle), 0);
    EXPECT_EQ(handle[3], 9);
}

} // namespace
} // namespace domus::test
