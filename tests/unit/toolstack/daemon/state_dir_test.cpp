// Records in files: a new domusd reads what the old one wrote, and bears what a crash or a hand left there.
#include <utility>

#include "toolstack/daemon/state_dir.hpp"
#include "toolstack/model/config.hpp"
#include "toolstack/model/uuid.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <sys/stat.h>

namespace domus::daemon {
namespace {

struct StateDirTest : testing::Test {
    std::filesystem::path folder;

    void SetUp() override {
        std::string name = testing::TempDir() + "domus-state-XXXXXX";
        ASSERT_TRUE(::mkdtemp(name.data()));
        folder = name;
    }
    void TearDown() override {
        std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
        std::filesystem::remove_all(folder);
    }
    std::string place() const { return folder / "guests"; }
    static engine::Record record(const std::string& name) {
        engine::Record out;
        out.config = model::parse_config(
                         "f", "name='" + name +
                                  "'\nkernel='/k'\nuuid='00112233-4455-6677-8899-aabbccddeeff'\n"
                                  "disk=['vdev=xvda,target=/a b,c']\nvif=['mac=00:16:3e:00:00:01,rate=1MB/s@20ms']\n")
                         .domain;
        out.domid = 7;
        out.building = true;
        out.restarts = {1, 2, ~0ull};
        out.preserved = "crashed";
        return out;
    }
    std::string file() const { return place() + "/00112233-4455-6677-8899-aabbccddeeff.json"; }
};

void expect_same(const engine::Record& a, const engine::Record& b) {
    EXPECT_EQ(a.config, b.config);
    EXPECT_EQ(a.domid, b.domid);
    EXPECT_EQ(a.building, b.building);
    EXPECT_EQ(a.restarts, b.restarts);
    EXPECT_EQ(a.preserved, b.preserved);
}

TEST_F(StateDirTest, WhatWasSavedIsThereForTheNext) {
    const engine::Record saved = record("web");
    {
        StateDir state(place());
        EXPECT_TRUE(state.load().empty());
        state.save(saved);
        ASSERT_EQ(state.load().size(), 1u);
        expect_same(state.load()[0], saved);
    }
    StateDir next(place());
    ASSERT_EQ(next.load().size(), 1u);
    expect_same(next.load()[0], saved);
    next.remove(*saved.config.uuid);
    EXPECT_TRUE(next.load().empty());
    EXPECT_TRUE(StateDir(place()).load().empty());
    EXPECT_TRUE(std::filesystem::is_empty(place()));
}

TEST_F(StateDirTest, RecordsAreForRootOnly) {
    StateDir state(place());
    state.save(record("web"));
    struct stat info = {};
    ASSERT_EQ(::stat(file().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(StateDirTest, ALaterSaveReplaces) {
    StateDir state(place());
    engine::Record changed = record("web");
    state.save(changed);
    changed.building = false;
    changed.config.name = "web-2";
    state.save(changed);
    ASSERT_EQ(StateDir(place()).load().size(), 1u);
    expect_same(StateDir(place()).load()[0], changed);
}

TEST_F(StateDirTest, DamagedFilesAreLeftAloneAndOthersRead) {
    {
        StateDir state(place());
        state.save(record("web"));
    }
    const std::map<std::string, std::string> damaged = {
        {"empty.json", ""},
        {"cut.json", "{\"config\": {\"name\": \"x\""},
        {"no-uuid.json", "{\"config\": {\"name\": \"x\"}}"},
        {"nonsense.json", "{\"config\": {\"uuid\": \"zzz\"}}"},
        {"bytes.json", std::string("\0\xff\xfe", 3)},
        {"half.json.new", "{"},
        {"README", "no record"},
    };
    for (const auto& [name, text] : damaged)
        std::ofstream(place() + "/" + name) << text;
    std::filesystem::create_directory(place() + "/folder.json");
    const auto records = StateDir(place()).load();
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].config.name, "web");
    for (const auto& [name, text] : damaged)
        EXPECT_TRUE(std::filesystem::exists(place() + "/" + name)) << name << " is for a person to look at";
}

// A domid does not fit 16 bits: no other guest may be taken for it.
TEST_F(StateDirTest, ADomidOutOfRangeIsDamage) {
    {
        StateDir state(place());
        state.save(record("web"));
    }
    std::ifstream in(file());
    std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto at = text.find("\"domid\": 7");
    ASSERT_NE(at, std::string::npos) << text;
    std::ofstream(file()) << text.replace(at, 10, "\"domid\": 65537");
    EXPECT_TRUE(StateDir(place()).load().empty());
}

TEST_F(StateDirTest, ADirectoryThatCannotBeMadeIsAnErrorWithAdvice) {
    std::ofstream(folder / "file") << "x";
    try {
        StateDir state(folder / "file" / "guests");
        ADD_FAILURE() << "it was made";
    } catch (const std::runtime_error& e) {
        EXPECT_THAT(e.what(), testing::HasSubstr("--state-dir"));
    }
}

TEST_F(StateDirTest, AFailedSaveKeepsTheOldRecord) {
    StateDir state(place());
    engine::Record saved = record("web");
    state.save(saved);
    std::filesystem::create_directory(file() + ".new"); // in the way of the new file
    engine::Record changed = saved;
    changed.config.name = "other";
    EXPECT_THROW(state.save(changed), std::runtime_error);
    expect_same(state.load()[0], saved);
    expect_same(StateDir(place()).load()[0], saved);
}

} // namespace
} // namespace domus::daemon
