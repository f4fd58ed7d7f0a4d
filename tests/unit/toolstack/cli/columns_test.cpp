// Answers as text, in xl's columns: scripts read them by position and by name.
#include "toolstack/cli/columns.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

proto::DomainState state(const std::string& name, std::uint32_t domid) {
    proto::DomainState out;
    out.set_name(name);
    out.set_domid(domid);
    out.set_memory_kib(512 * 1024);
    out.set_vcpus(2);
    return out;
}

std::string letters(const proto::DomainState& domain) {
    proto::DomainList list;
    *list.add_domains() = domain;
    const std::string text = list_text(list);
    return text.substr(text.find('\n') + 1 + 63, 6);
}

// xl 4.17: "Name<40> ID Mem VCPUs\tState\tTime(s)", then "%-40s %5d %5lu %5d     %c%c%c%c%c%c  %8.1f".
TEST(Columns, List) {
    proto::DomainList list;
    *list.add_domains() = state("Domain-0", 0);
    list.mutable_domains(0)->set_running(true);
    list.mutable_domains(0)->set_cpu_time_ns(11'794'349'999'999);
    *list.add_domains() = state("web", 12);
    list.mutable_domains(1)->set_blocked(true);
    EXPECT_EQ(list_text(list), "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
                               "Domain-0                                     0   512     2     r-----   11794.3\n"
                               "web                                         12   512     2     -b----       0.0\n");
    EXPECT_EQ(list_text(proto::DomainList()),
              "Name                                        ID   Mem VCPUs\tState\tTime(s)\n");
}

TEST(Columns, ListKeepsLongNamesWhole) {
    proto::DomainList list;
    *list.add_domains() = state(std::string(60, 'n'), 3);
    EXPECT_THAT(list_text(list), HasSubstr(std::string(60, 'n') + "     3   512"));
}

// The fifth letter is the reason of the shutdown, as xl's table "-rscwS" has it.
TEST(Columns, StateLetters) {
    auto domain = state("g", 1);
    EXPECT_EQ(letters(domain), "------");
    domain.set_paused(true);
    EXPECT_EQ(letters(domain), "--p---");
    domain.set_dying(true);
    EXPECT_EQ(letters(domain), "--p--d");
    const std::pair<const char*, const char*> reasons[] = {
        {"poweroff", "---s--"}, {"reboot", "---sr-"},  {"suspend", "---ss-"},    {"crash", "---sc-"},
        {"watchdog", "---sw-"}, {"unknown", "---s--"}, {"soft-reset", "---sS-"},
    };
    for (const auto& [reason, expected] : reasons) {
        domain = state("g", 1);
        domain.set_shutdown(true);
        domain.set_crashed(std::string(reason) == "crash");
        domain.set_shutdown_reason(reason);
        EXPECT_EQ(letters(domain), expected) << reason;
    }
}

// The names and order of xl 4.17's info.
TEST(Columns, Info) {
    proto::HostInfo info;
    info.set_host("dom0");
    info.set_cpu_khz(2'099'998);
    for (const std::uint32_t word : {0x178bfbfdu, 0xf6f83203u, 0u, 0xau})
        info.add_hw_caps(word);
    info.set_virt_caps("pv hvm");
    info.set_total_memory_kib(2'096'632);
    info.set_xen_major(4);
    info.set_xen_minor(17);
    info.set_xen_extra(".7");
    info.set_virt_start(0xffff800000000000);
    const std::string text = info_text(info);
    std::vector<std::string> names;
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
        const std::string line = text.substr(at, text.find('\n', at) - at);
        EXPECT_EQ(line.substr(23, 2), ": ") << line;
        names.push_back(line.substr(0, line.find_first_of(" :")));
    }
    EXPECT_THAT(names,
                testing::ElementsAre("host", "release", "version", "machine", "nr_cpus", "max_cpu_id", "nr_nodes",
                                     "cores_per_socket", "threads_per_core", "cpu_mhz", "hw_caps", "virt_caps",
                                     "total_memory", "free_memory", "sharing_freed_memory", "sharing_used_memory",
                                     "outstanding_claims", "free_cpus", "xen_major", "xen_minor", "xen_extra",
                                     "xen_version", "xen_caps", "xen_scheduler", "xen_pagesize", "platform_params",
                                     "xen_changeset", "xen_commandline", "cc_compiler", "cc_compile_by",
                                     "cc_compile_domain", "cc_compile_date", "build_id", "xend_config_format"));
    EXPECT_THAT(text, HasSubstr("host                   : dom0\n"));
    EXPECT_THAT(text, HasSubstr("cpu_mhz                : 2099.998\n"));
    EXPECT_THAT(text, HasSubstr("hw_caps                : 178bfbfd:f6f83203:00000000:0000000a\n"));
    EXPECT_THAT(text, HasSubstr("virt_caps              : pv hvm\n"));
    EXPECT_THAT(text, HasSubstr("total_memory           : 2047\n"));
    EXPECT_THAT(text, HasSubstr("xen_version            : 4.17.7\n"));
    EXPECT_THAT(text, HasSubstr("platform_params        : virt_start=0xffff800000000000\n"));
}

TEST(Columns, Blocks) {
    proto::BlockList list;
    auto* disk = list.add_devices();
    disk->set_devid(51712);
    disk->set_state(4);
    disk->set_event_channel(15);
    disk->set_ring_ref(8);
    disk->set_backend("/local/domain/0/backend/vbd/5/51712");
    EXPECT_EQ(blocks_text(list), "Vdev  BE  handle state evt-ch ring-ref BE-path                       \n"
                                 "51712 0   0      4     15     8        /local/domain/0/backend/vbd/5/51712\n");
}

TEST(Columns, Networks) {
    proto::NetworkList list;
    auto* card = list.add_devices();
    card->set_mac("00:16:3e:00:00:01");
    card->set_state(4);
    card->set_event_channel_tx(16);
    card->set_tx_ring_ref(768);
    card->set_rx_ring_ref(769);
    card->set_backend("/local/domain/0/backend/vif/5/0");
    EXPECT_EQ(networks_text(list),
              "Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n"
              "0   0  00:16:3e:00:00:01      0     4     16   768/769         /local/domain/0/backend/vif/5/0\n");
}

TEST(Columns, Counters) {
    proto::Counters counters;
    auto* one = counters.add_counters();
    one->set_name("page faults");
    one->add_values(~0ull);
    auto* many = counters.add_counters();
    many->set_name("hypercalls");
    many->add_values(1);
    many->add_values(0);
    many->add_values(3);
    const std::string text = counters_text(counters);
    EXPECT_THAT(text, StartsWith("page faults                                      18446744073709551615\n"));
    EXPECT_THAT(text, HasSubstr("hypercalls                                                    4\n"));
    EXPECT_THAT(text, HasSubstr("  [0]                                                         1\n"));
    EXPECT_THAT(text, HasSubstr("  [2]                                                         3\n"));
    EXPECT_THAT(text, testing::Not(HasSubstr("[1]"))) << "zeros of a histogram are left out";
}

} // namespace
} // namespace domus::cli
