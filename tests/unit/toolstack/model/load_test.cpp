// Configuration files on disk, and settings given after the file name on the command line.
#include "toolstack/model/config.hpp"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace domus::model {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct LoadConfig : testing::Test {
    std::filesystem::path folder = testing::TempDir() + "domus-load-" + std::to_string(::getpid());
    std::string path = folder / "g.cfg";

    void SetUp() override {
        std::filesystem::create_directories(folder);
        write("name = \"g\"\nkernel = \"/k\"\nmemory = 64\ndisk = [ '/d,raw,xvda,w' ]\nextra = \"quiet\"\n");
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    void write(const std::string& text) const { std::ofstream(path, std::ios::binary) << text; }

    std::string complaint(const std::vector<std::string>& overrides) const {
        try {
            load_config(path, overrides);
            return "";
        } catch (const std::runtime_error& e) {
            return e.what();
        }
    }
};

TEST_F(LoadConfig, SettingsAfterTheFileReplaceItsOwn) {
    const Parsed parsed = load_config(path, {"memory=128", "on_crash=preserve", "name=\"h\"", "ramdisk = /r"});
    EXPECT_EQ(parsed.domain.memory_kib, 128u * 1024);
    EXPECT_EQ(parsed.domain.on_crash, Action::Preserve);
    EXPECT_EQ(parsed.domain.name, "h");
    EXPECT_EQ(parsed.domain.ramdisk, "/r");
    EXPECT_THAT(parsed.warnings, testing::IsEmpty()) << "replacing is what they are for";
}

TEST_F(LoadConfig, PlusEqualsAfterTheFileAddsToItsOwn) {
    const Parsed parsed = load_config(path, {"disk+=[ '/e,raw,xvdb,w' ]", "extra+=\" single\""});
    ASSERT_EQ(parsed.domain.disks.size(), 2u);
    EXPECT_EQ(parsed.domain.disks[0].target, "/d");
    EXPECT_EQ(parsed.domain.disks[1].target, "/e");
    EXPECT_EQ(parsed.domain.cmdline, "quiet single");
    EXPECT_EQ(load_config(path, {"vif+=['']"}).domain.vifs.size(), 1u) << "to nothing, too";
}

TEST_F(LoadConfig, ComplaintsAboutThemNameTheCommandLine) {
    EXPECT_THAT(complaint({"memory=lots"}),
                StartsWith("command line \"memory=lots\":1:8: memory is \"lots\", not a number"));
    EXPECT_THAT(complaint({"disk=[ '/d,vhdx,xvda,w' ]"}), StartsWith("command line"));
    EXPECT_THAT(complaint({"disk+=[ '/d,vhdx,xvdb,w' ]"}), StartsWith("command line"));
    EXPECT_THAT(complaint({"disk=[ '/d,raw,xvda,w'"}), HasSubstr("found the end of the file"));
    EXPECT_THAT(complaint({"memory"}), HasSubstr("is not KEY=VALUE"));
    EXPECT_THAT(complaint({"=5"}), HasSubstr("is not KEY=VALUE"));
    EXPECT_THAT(load_config(path, {"memroy=5"}).warnings,
                testing::ElementsAre(StartsWith("command line \"memroy=5\":1:1: ")));
    write("name = \"g\"\nkernel = \"/k\"\nmemory = lots\n");
    EXPECT_THAT(complaint({"vcpus=1"}), StartsWith(path + ":3:10: "));
}

TEST_F(LoadConfig, RelativePathsAreMadeAbsolute) {
    const Domain domain = load_config(path, {"kernel=k", "ramdisk=../r", "disk=['vg/web,raw,xvda,w']"}).domain;
    EXPECT_EQ(domain.kernel, std::filesystem::current_path() / "k");
    EXPECT_EQ(domain.ramdisk, std::filesystem::current_path().parent_path() / "r");
    EXPECT_EQ(domain.disks[0].target, "/dev/vg/web");
}

TEST_F(LoadConfig, WhatCannotBeRead) {
    path = folder / "absent.cfg";
    EXPECT_THAT(complaint({}), HasSubstr("No such file"));
    EXPECT_THAT(complaint({}), HasSubstr(path));
    path = folder;
    EXPECT_THAT(complaint({}), HasSubstr("it is a directory"));
    path = folder / "large.cfg";
    write(std::string((1 << 20) + 1, '#'));
    EXPECT_THAT(complaint({}), HasSubstr("larger than 1 MiB"));
}

} // namespace
} // namespace domus::model
