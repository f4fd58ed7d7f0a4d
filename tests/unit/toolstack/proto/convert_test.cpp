// Messages from the wire as the model's structs: what the configuration's parser refuses is refused here too.
#include "toolstack/proto/convert.hpp"

#include "toolstack/model/config.hpp"
#include "toolstack/model/disk.hpp"
#include "toolstack/model/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>

namespace domus::proto {
namespace {

using testing::HasSubstr;

DomainConfig least() {
    DomainConfig config;
    config.set_name("g");
    config.set_kernel("/k");
    config.set_memory_kib(4096);
    config.set_max_memory_kib(4096);
    config.set_vcpus(1);
    config.set_max_vcpus(1);
    return config;
}

template <class Change>
std::string refused(Change change) {
    DomainConfig config = least();
    change(config);
    try {
        model::validate(to_model(config));
        return "";
    } catch (const std::runtime_error& e) {
        return e.what();
    }
}

Disk disk() {
    Disk out;
    out.set_target("/d");
    out.set_vdev("xvda");
    out.set_format("raw");
    out.set_discard(true);
    return out;
}

TEST(Convert, TheLeastGuestIsTaken) {
    EXPECT_EQ(refused([](auto&) {}), "");
}

TEST(Convert, EmptyFieldsMeanTheDefaults) {
    const auto domain = to_model(least());
    EXPECT_EQ(domain.on_reboot, model::Action::Restart);
    EXPECT_EQ(domain.tsc_mode, model::TscMode::Default);
    EXPECT_FALSE(domain.uuid);
    EXPECT_EQ(to_model(Vif()), model::Vif());
}

TEST(Convert, WordsThatMeanNothingAreRefused) {
    EXPECT_THAT(refused([](auto& c) { c.set_uuid("1"); }), HasSubstr("UUID"));
    EXPECT_THAT(refused([](auto& c) { c.set_tsc_mode("fast"); }), HasSubstr("TSC mode"));
    EXPECT_THAT(refused([](auto& c) { c.set_on_crash("explode"); }), HasSubstr("use one of destroy"));
    EXPECT_THAT(refused([](auto& c) { c.set_name("a/b"); }), HasSubstr("slash"));
    EXPECT_THAT(refused([](auto& c) { c.set_memory_kib(~0ull); }), HasSubstr("MiB"));
    EXPECT_THAT(refused([](auto& c) { c.set_vcpus(0); }), HasSubstr("vcpus"));
    EXPECT_THAT(refused([](auto& c) { c.set_kernel(std::string("/k\0x", 4)); }), HasSubstr("zero byte"));
}

TEST(Convert, DisksGoThroughTheStringsParser) {
    const auto with = [](auto change) {
        return refused([&](DomainConfig& config) {
            Disk asked = disk();
            change(asked);
            *config.add_disks() = asked;
        });
    };
    EXPECT_EQ(with([](auto&) {}), "");
    EXPECT_THAT(with([](auto& d) { d.set_target(""); }), HasSubstr("target is missing"));
    EXPECT_THAT(with([](auto& d) { d.set_target(std::string("/d\0", 3)); }), HasSubstr("zero byte"));
    EXPECT_THAT(with([](auto& d) { d.set_vdev("xvda,format=raw"); }), HasSubstr("cannot be part of a disk"));
    EXPECT_THAT(with([](auto& d) { d.set_vdev(""); }), HasSubstr("name of the disk is missing"));
    EXPECT_THAT(with([](auto& d) { d.set_format("vhdx"); }), HasSubstr("is not served"));
    EXPECT_THAT(with([](auto& d) { d.set_backendtype("qdisk"); }), HasSubstr("is not there"));
    EXPECT_THAT(with([](auto& d) { d.set_backendtype("phy,cdrom"); }), HasSubstr("cannot be part of a disk"));
    EXPECT_THAT(with([](auto& d) { d.set_cdrom(true); }), HasSubstr("a cdrom cannot be written"));
}

TEST(Convert, PersistentGrantsMayBeLeftUnsaid) {
    for (const std::optional<bool> said : {std::optional<bool>(), std::optional(true), std::optional(false)}) {
        model::Disk plain = to_model(disk());
        plain.persistent = said;
        const Disk sent = to_proto(plain);
        EXPECT_EQ(sent.has_persistent(), said.has_value());
        Disk received;
        ASSERT_TRUE(received.ParseFromString(sent.SerializeAsString()));
        EXPECT_EQ(to_model(received), plain);
        received.set_backendtype("linux");
        EXPECT_EQ(to_model(received).persistent, said) << "kept, for a backend that may be another one some day";
    }
}

TEST(Convert, CardsGoThroughTheStringsParser) {
    const auto with = [](auto change) { return refused([&](DomainConfig& config) { change(*config.add_vifs()); }); };
    EXPECT_EQ(with([](auto&) {}), "");
    EXPECT_THAT(with([](auto& v) { v.set_mac("1"); }), HasSubstr("MAC address"));
    EXPECT_THAT(with([](auto& v) { v.set_bridge("a,b"); }), HasSubstr("cannot be part of a vif"));
    EXPECT_THAT(with([](auto& v) { v.set_bridge("a/b"); }), HasSubstr("not a name"));
    EXPECT_THAT(with([](auto& v) { v.set_vifname(std::string(16, 'x')); }), HasSubstr("not a name"));
    EXPECT_THAT(with([](auto& v) { v.set_mtu(5); }), HasSubstr("mtu"));
    EXPECT_THAT(with([](auto& v) { v.set_devid(256); }), HasSubstr("devid"));
    EXPECT_THAT(with([](auto& v) { v.mutable_rate(); }), HasSubstr("lets nothing through"));
    EXPECT_THAT(with([](auto& v) {
                    v.mutable_rate()->set_bytes(~0ull);
                    v.mutable_rate()->set_interval_us(1);
                }),
                HasSubstr("rate"));
    EXPECT_THAT(with([](auto& v) { v.set_ip(std::string("10.0.0.1\0", 9)); }), HasSubstr("zero byte"));
}

TEST(Convert, ATargetOfAnyTextSurvives) {
    for (const char* target : {"/a,b", "/a=b", "/a b", "/cdrom", "/d\n", "/target=/x"}) {
        Disk asked = disk();
        asked.set_target(target);
        EXPECT_EQ(to_model(asked).target, target);
        EXPECT_EQ(to_proto(to_model(asked)).target(), target);
    }
}

} // namespace
} // namespace domus::proto
