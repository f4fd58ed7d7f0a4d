// Broken configuration files: each message names the place, what is wrong there and what to do.
#include "toolstack/model/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::model {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const std::string least = "name = \"g\"\nkernel = \"/k\"\n"; // what follows stands in line 3

struct Fault {
    std::string text;   // appended to `least`
    std::string place;  // how the message begins
    std::string reason; // what it holds
    std::string advice; // what it holds too
};

std::string complaint(const std::string& text) {
    try {
        parse_config("f.cfg", text);
        return "";
    } catch (const std::runtime_error& e) {
        return e.what();
    }
}

std::vector<std::string> warnings(const std::string& text) {
    return parse_config("f.cfg", text).warnings;
}

void expect_all(const std::vector<Fault>& faults) {
    for (const auto& fault : faults) {
        const std::string message = complaint(least + fault.text);
        EXPECT_THAT(message, StartsWith(fault.place)) << fault.text;
        EXPECT_THAT(message, HasSubstr(fault.reason)) << fault.text;
        EXPECT_THAT(message, HasSubstr(fault.advice)) << fault.text;
    }
}

TEST(BrokenConfig, Syntax) {
    expect_all({
        {"ramdisk = \"/r\nmemory = 64\n", "f.cfg:3:11: ", "string is not closed", "add the closing \""},
        {"ramdisk = '/r", "f.cfg:3:11: ", "string is not closed", "add the closing '"},
        {"ramdisk = \"/r\\q\"\n", "f.cfg:3:14: ", "unknown escape", "write \\\\"},
        {"ramdisk = \"/r\\", "f.cfg:3:14: ", "unknown escape", ""},
        {"ramdisk \"/r\"\n", "f.cfg:3:9: ", "expected '=' after \"ramdisk\", found the string", "NAME = VALUE"},
        {"ramdisk =\n", "f.cfg:3:10: ", "expected a value, found the end of the line", "\"string\""},
        {"ramdisk = /r\n", "f.cfg:3:11: ", "\"/\" does not belong here", "text values stand in quotes"},
        {"on_crash = destroy\n", "f.cfg:3:12: ", "\"destroy\" is not a value", "put it in quotes: \"destroy\""},
        {"memory = 64 128\n", "f.cfg:3:13: ", "unexpected the number \"128\" after the value", "quotes"},
        {"disk = [ '/d,raw,xvda,w'\nmemory = 64\n", "f.cfg:4:1: ", "opened at line 3, found the word \"memory\"",
         "']'"},
        {"disk = [ '/d,raw,xvda,w'", "f.cfg:3:25: ", "found the end of the file", "']'"},
        {"disk = ]\n", "f.cfg:3:8: ", "found ']'", "[ list ]"},
        {"= 5\n", "f.cfg:3:1: ", "expected the name of a setting, found '='", "NAME = VALUE"},
        {"5 = 5\n", "f.cfg:3:1: ", "found the number \"5\"", "NAME = VALUE"},
        {"memory + 5\n", "f.cfg:3:8: ", "a lone '+'", "'+='"},
        {"memory = 64\nmemory += 64\n", "f.cfg:4:1: ", "'+=' cannot add", "list to a list"},
    });
}

TEST(BrokenConfig, WrongTypes) {
    expect_all({
        {"memory = [ 64 ]\n", "f.cfg:3:10: ", "memory takes a number, not a list", ""},
        {"memory = \"\"\n", "f.cfg:3:10: ", "memory has no value", "whole number"},
        {"memory = \"64 MB\"\n", "f.cfg:3:10: ", "memory is \"64 MB\", not a number", "whole number"},
        {"memory = 08\n", "f.cfg:3:10: ", "\"08\", not a number", "0 octal"},
        {"memory = 0x\n", "f.cfg:3:10: ", "\"0x\", not a number", "0x hexadecimal"},
        {"ramdisk = [ \"/r\" ]\n", "f.cfg:3:11: ", "ramdisk takes a string, not a list", "quotes"},
        {"disk = '/d,raw,xvda,w'\n", "f.cfg:3:8: ", "disk takes a list", "write disk = [ '...' ]"},
        {"disk = [ 5 ]\n", "f.cfg:3:10: ", "an item of disk is not a string", "quotes"},
        {"disk = [ [ '/d,raw,xvda,w' ] ]\n", "f.cfg:3:10: ", "an item of disk is not a string", ""},
        {"vif = { }\n", "f.cfg:3:7: ", "\"{\" does not belong here", ""},
        {"type = 5\n", "f.cfg:3:8: ", "only paravirtual", "pv"},
    });
}

// "put it in quotes" would send a person from one error into the next.
TEST(BrokenConfig, NumbersWithSignOrUnitAreCalledNumbers) {
    expect_all({
        {"memory = 512M\n", "f.cfg:3:10: ", "\"512M\" is not a number", "without sign or unit"},
        {"memory = -5\n", "f.cfg:3:10: ", "\"-5\" is not a number", "without sign or unit"},
        {"vcpus = 1.5\n", "f.cfg:3:9: ", "\"1.5\" is not a number", "whole number"},
    });
}

TEST(BrokenConfig, Ranges) {
    expect_all({
        {"memory = 0\n", "f.cfg:3:10: ", "memory is 0, out of range", "use 1 to 16777216"},
        {"memory = 16777217\n", "f.cfg:3:10: ", "out of range", "use 1 to 16777216"},
        {"memory = 18446744073709551615\n", "f.cfg:3:10: ", "out of range", ""},
        {"memory = 18446744073709551616\n", "f.cfg:3:10: ", "too large a number", ""},
        {"memory = 0x1" + std::string(1000, '0') + "\n", "f.cfg:3:10: ", "too large a number", ""},
        {"vcpus = 513\n", "f.cfg:3:9: ", "vcpus is 513, out of range", "use 1 to 512"},
        {"cpu_weight = 65536\n", "f.cfg:3:14: ", "out of range", "65535"},
        {"cap = 99999\n", "f.cfg:3:7: ", "out of range", "51200"},
    });
}

TEST(BrokenConfig, DeviceStringsNameTheColumnInside) {
    expect_all({
        {"disk = [ '/d,vhdx,xvda,w' ]\n", "f.cfg:3:14: ", "format \"vhdx\" is not served", "qemu-img convert"},
        {"disk = [ '/d,raw,floppy,w' ]\n", "f.cfg:3:18: ", "\"floppy\" is not the name", "xvda"},
        {"disk = [ '/d,raw,xvda,maybe' ]\n", "f.cfg:3:23: ", "access \"maybe\" is unknown", "ro (r) or rw (w)"},
        {"disk = [ '/d,raw,xvda,w' ,\n  '/e,raw' ]\n", "f.cfg:4:10: ", "name of the disk is missing", "add it third"},
        {"vif = [ 'bridge=b, mac=1' ]\n", "f.cfg:3:20: ", "\"1\" is not a MAC address", "00:16:3e"},
        {"vif = [ 'bridge' ]\n", "f.cfg:3:10: ", "\"bridge\" is not key=value", "bridge=xenbr0"},
        {"uuid = \"1\"\n", "f.cfg:3:8: ", "a UUID has 32", "leave uuid= out"},
    });
}

TEST(BrokenConfig, BytesThatAreNoText) {
    const std::string zero(1, '\0');
    expect_all({
        {"ramdisk = \"a" + zero + "b\"\n", "f.cfg:3:13: ", "a zero byte in a string", "is this a text file?"},
        {zero, "f.cfg:3:1: ", "\"\\x00\" does not belong here", "NAME = VALUE"},
        {"mem" + zero + "ory = 5\n", "f.cfg:3:4: ", "does not belong here", ""},
        {"\x7f"
         "ELF\x02\n",
         "f.cfg:3:1: ", "\"\\x7f\" does not belong here", ""},
    });
    EXPECT_EQ(complaint(least + "# zero byte " + zero + " in a comment\nmemory = 64\n"), "");
}

// Names, paths and command lines travel as protobuf strings, which must be UTF-8.
TEST(BrokenConfig, TextThatIsNotUtf8) {
    for (const char* bad : {"\xff", "caf\xe9", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"})
        expect_all({{"extra = \"" + std::string(bad) + "\"\n", "f.cfg:3:", "not UTF-8", "save the file as UTF-8"}});
    EXPECT_EQ(complaint(least + "extra = \"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"\n"), "");
}

TEST(BrokenConfig, AForeignCharacterIsShownWhole) {
    expect_all({{"ramdisk = \xe2\x80\x9c/r\xe2\x80\x9d\n", "f.cfg:3:11: ", "\"\xe2\x80\x9c\" does not belong here",
                 "quotes"}});
}

TEST(BrokenConfig, LineEndsOfOtherSystems) {
    EXPECT_EQ(complaint("name = \"g\"\r\nkernel = \"/k\"\r\nmemory = 64\r\n"), "");
    EXPECT_EQ(parse_config("f", least + "disk = [\r\n '/d,raw,xvda,w',\r\n]\r\n").domain.disks.size(), 1u);
}

TEST(BrokenConfig, UnknownKeysWarn) {
    EXPECT_THAT(
        warnings(least + "memroy = 64\n"),
        testing::ElementsAre("f.cfg:3:1: warning: unknown setting \"memroy\" is ignored; did you mean \"memory\"?"));
    EXPECT_THAT(warnings(least + "  colour = \"red\"\n"),
                testing::ElementsAre("f.cfg:3:3: warning: unknown setting \"colour\" is ignored"));
    EXPECT_THAT(warnings(least + std::string(5000, 'x') + " = 1\n"), testing::SizeIs(1));
    EXPECT_THAT(warnings(least + "vfb = [ 'type=vnc' ]\n"), testing::ElementsAre(HasSubstr("has no effect")));
}

TEST(BrokenConfig, AKeySetTwiceWarnsAndTheLaterWins) {
    const Parsed parsed = parse_config("f.cfg", least + "memory = 64\nvcpus = 1\nmemory = 128\n");
    EXPECT_EQ(parsed.domain.memory_kib, 128u * 1024);
    EXPECT_THAT(parsed.warnings,
                testing::ElementsAre("f.cfg:5:1: warning: \"memory\" is set again; its value at line 3 is "
                                     "not used"));
    EXPECT_THAT(warnings(least + "extra = \"a\"\nextra += \"b\"\n"), IsEmpty());
}

TEST(BrokenConfig, WhatNoGuestCanBe) {
    EXPECT_EQ(complaint("kernel=\"/k\"\n"), "f.cfg: name is missing; add name = \"...\"");
    EXPECT_EQ(complaint("name=\"g\"\n"), "f.cfg: kernel is missing; add kernel = \"/path/of/vmlinuz\"");
    EXPECT_THAT(complaint(""), HasSubstr("name is missing"));
    EXPECT_THAT(complaint("name=\"" + std::string(256, 'n') + "\"\n"), HasSubstr("longer than 255"));
    EXPECT_THAT(complaint("name=\"a b\"\n"), StartsWith("f.cfg:1:6: name \"a b\" has a blank"));
    EXPECT_THAT(complaint("name=\"a\\nb\"\n"), HasSubstr("\"a\\x0ab\""));
    EXPECT_THAT(complaint(least + "maxmem = 64\n"), HasSubstr("memory (128 MiB) is more than maxmem (64 MiB)"));
}

// What comes over the socket has not been through the parser.
TEST(BrokenConfig, ValidateKnowsTheLimitsToo) {
    const auto refused = [](auto change) -> std::string {
        Domain domain;
        domain.name = "g";
        domain.kernel = "/k";
        change(domain);
        try {
            validate(domain);
            return "";
        } catch (const std::runtime_error& e) {
            return e.what();
        }
    };
    const std::string zero("/a\0b", 4);
    EXPECT_EQ(refused([](Domain&) {}), "");
    EXPECT_THAT(refused([](Domain& d) { d.memory_kib = d.max_memory_kib = ~0ull; }), HasSubstr("at most 16777216 MiB"));
    EXPECT_THAT(refused([](Domain& d) { d.max_memory_kib = ~0ull; }), HasSubstr("at most 16777216 MiB"));
    EXPECT_THAT(refused([](Domain& d) { d.vcpus = d.max_vcpus = 513; }), HasSubstr("at most 512"));
    EXPECT_THAT(refused([](Domain& d) { d.cpu_weight = 65536; }), HasSubstr("cpu_weight"));
    EXPECT_THAT(refused([](Domain& d) { d.cap = 51201; }), HasSubstr("cap"));
    EXPECT_THAT(refused([&](Domain& d) { d.kernel = zero; }), HasSubstr("zero byte"));
    EXPECT_THAT(refused([&](Domain& d) { d.ramdisk = zero; }), HasSubstr("zero byte"));
    EXPECT_THAT(refused([&](Domain& d) { d.cmdline = zero; }), HasSubstr("zero byte"));
}

} // namespace
} // namespace domus::model
