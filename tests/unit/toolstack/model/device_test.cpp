// Disk and network card strings, virtual disk numbers, addresses and identifiers.
#include "toolstack/model/disk.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/switch_port.hpp"
#include "toolstack/model/text.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vdev.hpp"
#include "toolstack/model/vif.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::model {
namespace {

Disk disk(std::string_view spec) {
    std::vector<std::string> warnings;
    return parse_disk(spec, warnings);
}
Vif vif(std::string_view spec) {
    std::vector<std::string> warnings;
    return parse_vif(spec, warnings);
}

/// The complaint of a parser, with the offset it is about: "7: ...".
template <class Parse>
std::string complaint(Parse parse, std::string_view spec) {
    try {
        parse(spec);
        return "";
    } catch (const ValueError& e) {
        return std::to_string(e.offset()) + ": " + e.what();
    }
}

TEST(Vdev, NumbersOfTheInterface) { // xen-vbd-interface(7)
    EXPECT_EQ(vdev_number("xvda"), 202u << 8);
    EXPECT_EQ(vdev_number("xvda1"), (202u << 8) + 1);
    EXPECT_EQ(vdev_number("xvdb"), (202u << 8) + 16);
    EXPECT_EQ(vdev_number("xvdq"), (1u << 28) + (16u << 8));
    EXPECT_EQ(vdev_number("sda"), 8u << 8);
    EXPECT_EQ(vdev_number("hda"), 3u << 8);
    EXPECT_EQ(vdev_number("hdc"), 22u << 8);
}

TEST(Vdev, NamesComeBack) {
    for (const char* name : {"xvda", "xvdb3", "xvdz", "sda1", "hdc"})
        EXPECT_EQ(vdev_name(vdev_number(name)), name);
}

// Several numbers could be called xvda; a name that is shown must lead back to the disk it was shown for.
TEST(Vdev, NoDiskIsShownByAnothersName) {
    for (std::uint32_t number = 1; number < 1u << 16; ++number)
        ASSERT_EQ(vdev_number(vdev_name(number)), number) << vdev_name(number);
    for (std::uint32_t disk = 0; disk < 1u << 20; disk += 613)
        for (const std::uint32_t partition : {0u, 1u, 16u, 255u})
            ASSERT_EQ(vdev_number(vdev_name(1u << 28 | disk << 8 | partition)), 1u << 28 | disk << 8 | partition);
}

TEST(Vdev, RefusesOthers) {
    for (const char* name : {"",           "xvd",
                             "foo",        "xvda999999999999",
                             "xvda-1",     "/dev/xvda",
                             "xvdA",       "xvda0",
                             "xvda01",     "xvdzzzzz",
                             "xvda256",    "xvdq256",
                             "sdq",        "sda16",
                             "hde",        "hda64",
                             "d",          "d0p",
                             "dp1",        "d1048576",
                             "0",          "-1",
                             "0x",         "536870912",
                             "4294968064", "18446744073709603328"})
        EXPECT_THROW(vdev_number(name), ValueError) << name;
}

TEST(Vdev, PartitionsBeyondTheFirstFifteenUseTheExtendedForm) {
    EXPECT_EQ(vdev_number("xvda15"), (202u << 8) + 15);
    EXPECT_EQ(vdev_number("xvda16"), (1u << 28) + 16);
    EXPECT_EQ(vdev_number("xvdp"), (202u << 8) + (15u << 4));
    EXPECT_EQ(vdev_number("d1048575p255"), (1u << 28) + (1048575u << 8) + 255);
}

// domus block-detach takes what domus block-list shows.
TEST(Vdev, NumbersNameDisksToo) {
    for (const char* name : {"xvda", "xvdq", "xvdaa3", "sdb", "hdd2"})
        EXPECT_EQ(vdev_number(std::to_string(vdev_number(name))), vdev_number(name)) << name;
    EXPECT_EQ(vdev_number("0xca00"), vdev_number("xvda"));
}

TEST(Disk, FormsOfTheSameDisk) {
    const Disk one = disk("/dev/g,raw,xvda,rw");
    EXPECT_EQ(one.target, "/dev/g");
    EXPECT_FALSE(one.read_only);
    EXPECT_EQ(disk("format=raw, vdev=xvda, access=rw, target=/dev/g"), one);
    EXPECT_EQ(disk(to_string(one)), one);
    EXPECT_TRUE(disk("/dev/g,raw,xvda,ro").read_only);
    EXPECT_EQ(one.backend, Backend::User);
    EXPECT_EQ(disk("/dev/g,raw,xvda,rw,backendtype=linux").backend, Backend::Kernel);
}

TEST(Disk, RefusesWhatNoBackendReads) {
    for (const char* spec :
         {"", ",,,", "/d,qed,xvda,w", "nbd://h/x,qcow2,xvda,w", "/d,qcow2,xvda,w,backendtype=linux",
          "/d,qcow2,xvda,w,backend=a", "/d,raw,nonsense,w", "/d,raw,xvda,maybe", "/d,raw,xvda,w,colour=red"})
        EXPECT_THROW(disk(spec), ValueError) << spec;
}

TEST(Disk, OldForms) {
    EXPECT_EQ(disk("phy:/dev/g,xvda,w"), disk("/dev/g,raw,xvda,w"));
    EXPECT_EQ(disk("phy:vg/g,xvda,r").target, "/dev/vg/g");
    EXPECT_EQ(disk("file:/img,xvda,w").target, "/img");
    EXPECT_EQ(disk("tap:aio:/img,xvda,w").target, "/img");
    EXPECT_TRUE(disk("/img.iso,raw,hdc:cdrom,r").cdrom);
    EXPECT_EQ(disk("tap:qcow2:/img,xvda,w").format, "qcow2");
    EXPECT_THAT(complaint(disk, "tap:vhd:/img,xvda,w"), testing::HasSubstr("format \"vhd\" is not served"));
}

TEST(Disk, TheFormatLeftOutIsSaid) {
    EXPECT_THAT(complaint(disk, "/img,xvdb,w"),
                testing::AllOf(testing::HasSubstr("\"xvdb\" stands where the format is expected"),
                               testing::HasSubstr("write the format before it: raw,xvdb")));
}

TEST(Disk, ATargetMayHoldAnyText) {
    EXPECT_EQ(disk("vdev=xvda,target=/a,b = c.img").target, "/a,b = c.img");
    EXPECT_EQ(disk("/srv/a=b.img,raw,xvda,w").target, "/srv/a=b.img");
    Disk odd;
    odd.target = "/a,b=c 'd' cdrom,vdev=xvdb";
    odd.vdev = "xvda";
    EXPECT_EQ(disk(to_string(odd)), odd);
}

TEST(Disk, NbdServersAreServedByOurBackend) {
    const Disk local = disk("nbd+unix:///?socket=/run/a.sock,raw,xvda,rw");
    EXPECT_EQ(local.target, "nbd+unix:///?socket=/run/a.sock");
    EXPECT_EQ(local.backend, Backend::User);
    EXPECT_EQ(disk(to_string(local)), local);
    EXPECT_EQ(disk("vdev=xvda,target=nbd://host:10809/a,b").target, "nbd://host:10809/a,b");
    EXPECT_THAT(complaint(disk, "nbd://host/,raw,xvda,rw,backendtype=linux"),
                testing::HasSubstr("cannot serve the NBD server"));
}

TEST(Disk, CdromsAreReadOnly) {
    EXPECT_TRUE(disk("/i,raw,xvda,cdrom").read_only);
    EXPECT_TRUE(disk("/i,raw,xvda,devtype=cdrom").cdrom);
    EXPECT_THAT(complaint(disk, "/i,raw,xvda,w,cdrom"), testing::HasSubstr("a cdrom cannot be written"));
}

TEST(Disk, PersistentGrantsAreAskedForRefusedOrLeftToTheBackend) {
    EXPECT_EQ(disk("/d,raw,xvda,rw").persistent, std::nullopt);
    EXPECT_EQ(disk("/d,raw,xvda,rw,persistent").persistent, true);
    EXPECT_EQ(disk("/d,raw,xvda,rw,no-persistent").persistent, false);
    EXPECT_EQ(disk("persistent, vdev=xvda, target=/d").persistent, true);
    EXPECT_EQ(disk("nbd://host/,raw,xvda,rw,persistent").persistent, true);
    EXPECT_EQ(disk("vdev=xvda,target=/d,persistent").persistent, std::nullopt) << "of the target's name";
    for (const char* spec : {"/d,raw,xvda,rw", "/d,raw,xvda,rw,persistent", "/d,raw,xvda,rw,no-persistent",
                             "/d,raw,xvda,rw,persistent,backend=driver", "/d,qcow2,xvda,rw,no-persistent"})
        EXPECT_EQ(disk(to_string(disk(spec))), disk(spec)) << spec;
}

TEST(Disk, PersistentIsSaidOnce) {
    using testing::StartsWith;
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,rw,persistent,no-persistent"),
                StartsWith("26: disk: 'no-persistent' comes after 'persistent'; give one of them"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,rw,no-persistent, persistent"),
                StartsWith("30: disk: 'persistent' comes after 'no-persistent'; give one of them"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,rw,persistent,persistent"),
                StartsWith("26: disk: 'persistent' is given twice; give it once"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,rw,persistent=1"),
                StartsWith("15: disk: 'persistent' takes no value; write persistent or no-persistent"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,rw,no-persistent=0"), testing::HasSubstr("takes no value"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,rw,Persistent"), testing::HasSubstr("one parameter too many"));
}

TEST(Disk, PersistentIsWithoutEffectOnTheKernelsBackend) {
    for (const char* spec : {"/d,raw,xvda,rw,persistent,backendtype=linux", "/d,raw,xvda,rw,backendtype=phy,persistent",
                             "/d,raw,xvda,rw,no-persistent,backendtype=linux"}) {
        std::vector<std::string> warnings;
        parse_disk(spec, warnings);
        ASSERT_EQ(warnings.size(), 1u) << spec;
        EXPECT_THAT(warnings[0],
                    testing::HasSubstr("persistent' has no effect on dom0's kernel, whose xen-blkback has"));
    }
    for (const char* spec : {"/d,raw,xvda,rw,backendtype=linux", "/d,raw,xvda,rw,backendtype=domus,persistent",
                             "/d,raw,xvda,rw,no-persistent,backend=driver"}) {
        std::vector<std::string> warnings;
        parse_disk(spec, warnings);
        EXPECT_THAT(warnings, testing::IsEmpty()) << spec;
    }
}

TEST(Disk, ComplaintsNameTheOffsetAndTheRemedy) {
    using testing::StartsWith;
    EXPECT_THAT(complaint(disk, ",raw,xvda,w"), StartsWith("0: disk: the target is missing; name a block device"));
    EXPECT_THAT(complaint(disk, "/d,raw,,w"), StartsWith("9: disk: the guest's name of the disk is missing"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,more"), StartsWith("14: disk: \"more\" is one parameter too many"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,vdev=xvdb"), StartsWith("14: disk: 'vdev' is given twice"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,colour=red"), StartsWith("14: disk: unknown parameter \"colour\""));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,script=block-nbd"), StartsWith("14: disk: script= is not supported"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,backend=a b"), StartsWith("14: disk: backend \"a b\" is no name"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,backend=driver,backendtype=linux"),
                testing::HasSubstr("backend=driver needs backendtype=domus"));
    EXPECT_THAT(complaint(disk, "/d,raw,xvda,w,backendtype=qdisk"), StartsWith("14: disk: backendtype \"qdisk\""));
    EXPECT_THAT(complaint(disk, std::string_view("/d\0x,raw,xvda,w", 15)), testing::HasSubstr("zero byte"));
}

TEST(Disk, OnlyTargetIsTarget) {
    EXPECT_THAT(complaint(disk, "vdev=xvda,targets=/d"),
                testing::StartsWith("10: disk: unknown parameter \"targets\""));
    EXPECT_EQ(disk("vdev=xvda, target = /d").target, "/d");
}

TEST(Vif, DefaultsAndRoundTrip) {
    EXPECT_EQ(vif("").bridge, "xenbr0");
    EXPECT_FALSE(vif("").mac);
    EXPECT_EQ(vif("").backend, Backend::User);
    EXPECT_EQ(vif("backendtype=linux").backend, Backend::Kernel);
    const Vif full = vif("mac=00:16:3e:0A:00:01,bridge=br1,vifname=v,mtu=1400,rate=10Mb/s");
    EXPECT_EQ(to_string(*full.mac), "00:16:3e:0a:00:01");
    EXPECT_EQ(vif(to_string(full)), full);
}

TEST(Vif, RefusesNonsense) {
    for (const char* spec :
         {"mac=1", "mac=01:00:00:00:00:00", "mac=00:00:00:00:00:00", "rate=fast", "mtu=-1", "what=ever"})
        EXPECT_THROW(vif(spec), ValueError) << spec;
}

TEST(Vif, ComplaintsNameTheOffsetAndTheRemedy) {
    using testing::StartsWith;
    EXPECT_THAT(complaint(vif, "bridge=b,mtu=67"), StartsWith("9: vif: mtu 67 is out of range; use 68 to 65535"));
    EXPECT_THAT(complaint(vif, "mtu=65536"), StartsWith("0: vif: mtu 65536"));
    EXPECT_THAT(complaint(vif, "devid=256"), StartsWith("0: vif: devid 256 is out of range"));
    EXPECT_THAT(complaint(vif, "bridge="), StartsWith("0: vif: bridge is \"\", not a name"));
    EXPECT_THAT(complaint(vif, "bridge=a/b"), StartsWith("0: vif: bridge is \"a/b\", not a name"));
    EXPECT_THAT(complaint(vif, "vifname=1234567890123456"), testing::HasSubstr("1 to 15"));
    EXPECT_THAT(complaint(vif, std::string_view("bridge=a\0b", 10)), testing::HasSubstr("control byte"));
    EXPECT_THAT(complaint(vif, "colour=red"), StartsWith("0: vif: unknown parameter \"colour\"; known are mac"));
    EXPECT_THAT(complaint(vif, "backend="), testing::HasSubstr("leave backend= out"));
    EXPECT_THAT(complaint(vif, "backend=driver,backendtype=linux"), testing::HasSubstr("needs backendtype=domus"));
    EXPECT_THAT(complaint(vif, "backendtype=tap"), testing::HasSubstr("is not there"));
}

TEST(Vif, OpenVswitchsBridges) {
    EXPECT_EQ(parse_switch_port("ovs0"), (SwitchPort{"ovs0", {}, {}}));
    EXPECT_EQ(parse_switch_port("ovs0.10"), (SwitchPort{"ovs0", 10, {}}));
    EXPECT_EQ(parse_switch_port("ovs0:20:30"), (SwitchPort{"ovs0", {}, {20, 30}}));
    EXPECT_EQ(parse_switch_port("a.b.4094:1"), (SwitchPort{"a.b", 4094, {1}}));
    EXPECT_EQ(parse_switch_port("a.b"), (SwitchPort{"a.b", {}, {}}));
    EXPECT_EQ(parse_switch_port("ovs0."), (SwitchPort{"ovs0.", {}, {}}));
    for (const char* text : {"", ":", "ovs0:", "ovs0:20:", "ovs0::20", "ovs0:x", "ovs0:0", "ovs0:4095", "ovs0.0",
                             "ovs0.4095", "ovs0.99999999999999999999", "ovs0:-1", "ovs0: 1", ".10", "-a", "--", "a b",
                             "ovs0:20,tag=1", "1234567890123456.7"})
        EXPECT_THROW(parse_switch_port(text), ValueError) << text;
    EXPECT_EQ(vif("bridge=xenbr0.10").bridge, "xenbr0.10") << "may be Linux's";
    EXPECT_FALSE(vif("bridge=xenbr0.10").open_vswitch);
    for (const char* spec : {"bridge=ovs0.10:20:30,script=vif-openvswitch", "bridge=ovs0:1",
                             "bridge=switch-of-15-ch.4094", "script=/etc/xen/scripts/vif-openvswitch"})
        EXPECT_EQ(vif(to_string(vif(spec))), vif(spec)) << spec;
    EXPECT_TRUE(vif("bridge=ovs0,script=vif-openvswitch").open_vswitch);
    std::vector<std::string> warnings;
    parse_vif("script=vif-openvswitch", warnings);
    EXPECT_TRUE(warnings.empty());
    EXPECT_THAT(complaint(vif, "bridge=ovs0.4095:1"), testing::HasSubstr("VLANs are 1 to 4094"));
    EXPECT_THAT(complaint(vif, "bridge=ovs0.0,script=vif-openvswitch"), testing::HasSubstr("\"0\" is no VLAN"));
    EXPECT_THAT(complaint(vif, "bridge=-x"), testing::HasSubstr("not a name"));
    EXPECT_THAT(complaint(vif, "backend=net,bridge=ovs0,script=vif-openvswitch"),
                testing::HasSubstr("which only dom0's domusd can set up; name a bridge of Linux's there"));
    EXPECT_THAT(complaint(vif, "backend=net,bridge=ovs0:10"), testing::HasSubstr("leave backend= out"));
}

TEST(Vif, AKeyGivenTwiceIsRefused) {
    EXPECT_THAT(complaint(vif, "bridge=a,mtu=1400,bridge=b"), testing::StartsWith("18: vif: 'bridge' is given twice"));
}

TEST(Vif, WhatHasNoEffectIsSaid) {
    std::vector<std::string> warnings;
    parse_vif("script=vif-route,model=e1000,type=ioemu,untrusted", warnings);
    EXPECT_EQ(warnings.size(), 4u);
}

TEST(Vif, RatesOfXlsManual) { // bytes per interval, which is 50 ms when not given
    EXPECT_EQ(parse_rate("10Mb/s"), (Rate{62'500, 50'000}));
    EXPECT_EQ(parse_rate("250KB/s"), (Rate{12'500, 50'000}));
    EXPECT_EQ(parse_rate("1MB/s@20ms"), (Rate{20'000, 20'000}));
    EXPECT_EQ(parse_rate("1GB/s@1s"), (Rate{1'000'000'000, 1'000'000}));
    for (const char* text : {"10Mb/s", "1MB/s@20ms", "7B/s@3s", "1GB/s@1us", "333Kb/s@77us"}) {
        Vif with_rate;
        with_rate.rate = parse_rate(text);
        EXPECT_EQ(vif(to_string(with_rate)), with_rate) << text;
    }
    for (const char* text :
         {"", "10", "Mb/s", "10Mb", "10XB/s", "-1Mb/s", "10Mb/s@", "10Mb/s@0ms", "10Mb/s@1h", "10Mb/s@3601s",
          "999999999999GB/s", "9999999999999B/s", "1b/s@1us", "0Mb/s", "10Mb/s@20ms@20ms"})
        EXPECT_THROW(parse_rate(text), ValueError) << text;
}

TEST(Mac, RefusesOtherForms) {
    for (const char* text :
         {"", "00:16:3e:00:00", "00:16:3e:00:00:0", "00:16:3e:00:00:01:02", "00-16-3e-00-00-01", "0:16:3e:0:0:1",
          "00:16:3g:00:00:01", "ff:ff:ff:ff:ff:ff", " 00:16:3e:00:00:01", "00163e000001"})
        EXPECT_THROW(parse_mac(text), ValueError) << text;
    EXPECT_EQ(to_string(parse_mac("0A:16:3E:AB:CD:EF")), "0a:16:3e:ab:cd:ef");
}

TEST(Mac, MadeOnesAreXensAndDiffer) {
    const Mac a = make_mac(), b = make_mac();
    EXPECT_EQ(to_string(a).substr(0, 8), "00:16:3e");
    EXPECT_LT(a[3], 0x80);
    EXPECT_NE(a, b);
}

TEST(Uuid, TextAndBack) {
    const std::string text = "00112233-4455-6677-8899-aabbccddeeff";
    EXPECT_EQ(to_string(parse_uuid(text)), text);
    EXPECT_EQ(parse_uuid(text)[1], 0x11);
    const Uuid made = make_uuid();
    EXPECT_EQ(made[6] >> 4, 4);
    EXPECT_EQ(made[8] >> 6, 2);
    EXPECT_NE(made, make_uuid());
    EXPECT_EQ(to_string(parse_uuid("00112233445566778899AABBCCDDEEFF")), text);
}

TEST(Uuid, RefusesOtherForms) {
    for (const char* bad :
         {"", "0011", "-", "00112233-4455-6677-8899-aabbccddeeff0", "g0112233-4455-6677-8899-aabbccddeeff",
          "001122334-455-6677-8899-aabbccddeeff", "00112233-44556677-8899-aabbccddeeff",
          "00112233-445566778899aabbccddeeff", "0011-2233-4455-6677-8899-aabbccddeeff",
          "{00112233-4455-6677-8899-aabbccddeeff}", "00000000-0000-0000-0000-000000000000"})
        EXPECT_THROW(parse_uuid(bad), ValueError) << bad;
}

} // namespace
} // namespace domus::model
