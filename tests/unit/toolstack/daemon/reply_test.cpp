// What hypervisor and engine say, as messages: words for numbers, and text that may not be UTF-8.
#include <utility>

#include "toolstack/daemon/reply.hpp"

#include <gtest/gtest.h>

namespace domus::daemon {
namespace {

TEST(Reply, TextBecomesUtf8ByteByByte) {
    EXPECT_EQ(as_utf8("plain\n"), "plain\n");
    EXPECT_EQ(as_utf8("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_EQ(as_utf8("\xff"
                      "a\xc3"),
              "?a?");
    EXPECT_EQ(as_utf8("\xc0\xaf"), "??") << "over-long";
    EXPECT_EQ(as_utf8("\xed\xa0\x80"), "???") << "surrogate";
    EXPECT_EQ(as_utf8("\xf4\x90\x80\x80"), "????") << "beyond Unicode";
    EXPECT_EQ(as_utf8("\xe2\x82"), "??") << "cut off";
    EXPECT_EQ(as_utf8(std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST(Reply, ADomainsState) {
    engine::Listed listed;
    listed.name = "g\xff";
    listed.info.domid = 5;
    listed.info.pages = 256;
    listed.info.outstanding_pages = 256;
    listed.info.max_pages = ~0ull; // no limit
    auto state = to_proto(listed);
    EXPECT_EQ(state.name(), "g?");
    EXPECT_EQ(state.memory_kib(), 2048u);
    EXPECT_EQ(state.max_memory_kib(), ~0ull);
    EXPECT_EQ(state.shutdown_reason(), "") << "it runs";
    const char* words[] = {"poweroff", "reboot", "suspend", "crash", "watchdog", "soft-reset", "unknown", "unknown"};
    listed.info.shutdown = true;
    for (unsigned code = 0; code < 8; ++code) {
        listed.info.shutdown_code = code == 7 ? 255 : std::uint8_t(code);
        EXPECT_EQ(to_proto(listed).shutdown_reason(), words[code]);
        EXPECT_EQ(to_proto(listed).crashed(), code == 3);
    }
}

TEST(Reply, CapabilitiesInXlsWords) {
    client::PhysInfo machine;
    const auto words = [&](std::uint32_t bits) {
        machine.capabilities = bits;
        return to_proto(machine, {}, 0, {}).virt_caps();
    };
    EXPECT_EQ(words(0), "");
    EXPECT_EQ(words(0b10), "pv");
    EXPECT_EQ(words(0b110), "pv pv_directio");
    EXPECT_EQ(words(0b111), "pv hvm hvm_directio pv_directio");
    EXPECT_EQ(words(~0u),
              "pv hvm hvm_directio pv_directio hap shadow iommu_hap_pt_share vmtrace vpmu gnttab-v1 gnttab-v2");
}

TEST(Reply, Schedulers) {
    const std::pair<unsigned, const char*> words[] = {{5, "credit"}, {6, "credit2"}, {7, "arinc653"},
                                                      {8, "rtds"},   {9, "null"},    {77, "unknown"}};
    for (const auto& [number, word] : words)
        EXPECT_EQ(to_proto({}, {}, number, {}).xen_scheduler(), word);
}

TEST(Reply, TheHostsNameNeedNotBeUtf8) {
    engine::Uname host;
    host.host = "\xe4";
    EXPECT_EQ(to_proto({}, {}, 5, host).host(), "?");
}

} // namespace
} // namespace domus::daemon
