// Configuration files: what is understood, and that what is not is said with its place.
#include "toolstack/model/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace domus::model {
namespace {

using testing::HasSubstr;

const std::string least = "name = \"g\"\nkernel = \"/k\"\n";

/// The complaint about a text, or nothing when it is accepted.
std::string complaint(const std::string& text) {
    try {
        parse_config("f.cfg", text);
        return "";
    } catch (const std::runtime_error& e) {
        return e.what();
    }
}

TEST(Config, LeastFileHasXlsDefaults) {
    const Domain d = parse_config("f.cfg", least).domain;
    EXPECT_EQ(d.name, "g");
    EXPECT_EQ(d.memory_kib, 128u * 1024);
    EXPECT_EQ(d.max_memory_kib, d.memory_kib);
    EXPECT_EQ(d.vcpus, 1u);
    EXPECT_EQ(d.on_poweroff, Action::Destroy);
    EXPECT_EQ(d.on_reboot, Action::Restart);
    EXPECT_FALSE(d.uuid);
}

TEST(Config, EveryKindOfSetting) {
    const Domain d =
        parse_config("f.cfg", "# comment\nname='a.b-1'\ntype=\"pv\"\nkernel=\"/k\"\nramdisk=\"/r\"\n"
                              "root=\"/dev/xvda ro\"\nextra=\"quiet\"\nmemory=256\nmaxmem=512\nvcpus=2\n"
                              "maxvcpus=4\non_crash=\"preserve\"\ndisk=[ '/d,raw,xvda,w',\n 'phy:/e,xvdb,r' ]\n"
                              "vif=[ 'mac=00:16:3e:00:00:01,bridge=b' ]\n")
            .domain;
    EXPECT_EQ(d.cmdline, "root=/dev/xvda ro quiet");
    EXPECT_EQ(d.memory_kib, 256u * 1024);
    EXPECT_EQ(d.max_memory_kib, 512u * 1024);
    EXPECT_EQ(d.max_vcpus, 4u);
    EXPECT_EQ(d.on_crash, Action::Preserve);
    ASSERT_EQ(d.disks.size(), 2u);
    EXPECT_TRUE(d.disks[1].read_only);
    ASSERT_EQ(d.vifs.size(), 1u);
    EXPECT_EQ(d.vifs[0].bridge, "b");
}

TEST(Config, LaterSettingWins) {
    EXPECT_EQ(parse_config("f", least + "memory=1\nmemory=64\n").domain.memory_kib, 65536u);
}

TEST(Config, UnknownKeyWarnsWithTheNearest) {
    const Parsed parsed = parse_config("f.cfg", least + "memroy = 64\n");
    ASSERT_EQ(parsed.warnings.size(), 1u);
    EXPECT_THAT(parsed.warnings[0], HasSubstr("f.cfg:3:1"));
    EXPECT_THAT(parsed.warnings[0], HasSubstr("memory"));
}

TEST(Config, RefusesWithPlaceAndReason) {
    EXPECT_THAT(complaint("name = \"g\n"), HasSubstr("f.cfg:1:"));
    EXPECT_THAT(complaint(least + "memory = [1]\n"), HasSubstr("f.cfg:3:"));
    EXPECT_THAT(complaint(least + "memory = \"lots\"\n"), HasSubstr("f.cfg:3:"));
    EXPECT_THAT(complaint(least + "vcpus = 0\n"), HasSubstr("out of range"));
    EXPECT_THAT(complaint(least + "vcpus = 99999999999999999999999\n"), HasSubstr("f.cfg:3:"));
    EXPECT_THAT(complaint(least + "type = \"hvm\"\n"), HasSubstr("paravirtual"));
    EXPECT_THAT(complaint(least + "on_crash = \"explode\"\n"), HasSubstr("destroy"));
    EXPECT_THAT(complaint(least + "disk = [ \"/d,vhdx,xvda,w\" ]\n"), HasSubstr("f.cfg:3:"));
    EXPECT_THAT(complaint(least + "disk = \"/d,raw,xvda,w\"\n"), HasSubstr("list"));
}

TEST(Config, RefusesWhatNoGuestCanBe) {
    EXPECT_THAT(complaint("kernel=\"/k\"\n"), HasSubstr("name is missing"));
    EXPECT_THAT(complaint("name=\"g\"\n"), HasSubstr("kernel is missing"));
    EXPECT_THAT(complaint("name=\"12\"\nkernel=\"/k\"\n"), HasSubstr("number"));
    EXPECT_THAT(complaint("name=\"a/b\"\nkernel=\"/k\"\n"), HasSubstr("slash"));
    EXPECT_THAT(complaint("name=\"Domain-0\"\nkernel=\"/k\"\n"), HasSubstr("reserved"));
    EXPECT_THAT(complaint("name=\"(null)\"\nkernel=\"/k\"\n"), HasSubstr("reserved")) << "list's word for no name";
    EXPECT_THAT(complaint(least + "memory=128\nmaxmem=64\n"), HasSubstr("maxmem"));
    EXPECT_THAT(complaint(least + "vcpus=2\nmaxvcpus=1\n"), HasSubstr("maxvcpus"));
    EXPECT_THAT(complaint(least + "extra=\"" + std::string(1024, 'x') + "\"\n"), HasSubstr("1023"));
    EXPECT_THAT(complaint(least + "disk=['/a,raw,xvda,w','/b,raw,xvda,w']\n"), HasSubstr("two disks"));
    EXPECT_THAT(complaint(least + "vif=['mac=00:16:3e:00:00:01','mac=00:16:3e:00:00:01']\n"), HasSubstr("MAC"));
}

TEST(Config, DeepListsAndZeroBytesAreRefused) {
    EXPECT_NE(complaint(least + "disk = " + std::string(100000, '[') + "\n"), "");
    EXPECT_NE(complaint(least + "ramdisk = \"a" + std::string(1, '\0') + "b\"\n"), "");
}

// Whatever is damaged, the parser ends with a message or a guest, never otherwise; the sanitizers watch.
TEST(Config, DamagedFilesEndInAMessage) {
    const std::string whole =
        least + "memory = 64\ndisk = [ '/d,raw,xvda,w' ]\nvif = [ 'rate=10Mb/s@20ms,bridge=b' ]\n";
    std::mt19937 random(7);
    unsigned refused = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string text = whole;
        for (unsigned n = 1 + random() % 4; n > 0; --n) {
            const std::size_t at = random() % text.size();
            switch (random() % 3) {
            case 0:
                text[at] = char(random());
                break;
            case 1:
                text.erase(at, 1 + random() % 8);
                break;
            default:
                text.insert(at, text.substr(random() % text.size(), random() % 8));
            }
        }
        refused += !complaint(text).empty();
    }
    EXPECT_GT(refused, 1000u);
}

} // namespace
} // namespace domus::model
