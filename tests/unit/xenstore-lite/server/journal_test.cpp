// The journal file: whole batches or nothing, whatever happened to its end.
#include "xenstore-lite/server/journal.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "temporary_folder.hpp"

namespace domus::xenstore::server {

using tree::Record;

namespace {
Record put(const std::string& path) {
    return {Record::Kind::put, 0, 0, 0, path, "value", {{0, 'n'}}};
}

std::vector<std::string> paths_in(const std::filesystem::path& folder) {
    Journal journal(folder);
    std::vector<std::string> paths;
    journal.load([&](const Record& record) { paths.push_back(record.path); });
    return paths;
}
using Paths = std::vector<std::string>;
} // namespace

class JournalTest : public testing::Test {
protected:
    void fill() {
        Journal journal(folder.path());
        EXPECT_FALSE(journal.load([](const Record&) {}));
        ASSERT_TRUE(journal.rewrite({put("/0")}));
        ASSERT_TRUE(journal.append({put("/1"), put("/2")}));
        ASSERT_TRUE(journal.append({put("/3")}));
    }
    std::string content() {
        std::ifstream file(folder.path() / "journal", std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void replace(const std::string& bytes) {
        std::ofstream(folder.path() / "journal", std::ios::binary | std::ios::trunc) << bytes;
    }
    TemporaryFolder folder;
};

TEST_F(JournalTest, GivesBackWhatWasAppended) {
    fill();
    EXPECT_EQ(paths_in(folder.path()), (Paths{"/0", "/1", "/2", "/3"}));
}

TEST_F(JournalTest, ATornEndLosesOneWholeBatchAndNoMore) {
    fill();
    const std::string whole = content();
    for (std::size_t size = whole.size(); size-- > 0;) {
        replace(whole.substr(0, size));
        const auto paths = paths_in(folder.path());
        EXPECT_TRUE(paths == (Paths{"/0", "/1", "/2"}) || paths == Paths{"/0"} || paths.empty()) << size;
    }
}

TEST_F(JournalTest, ABitFlippedAnywhereIsNoticed) {
    fill();
    const std::string whole = content();
    for (std::size_t at = 0; at < whole.size(); at += 3) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        replace(damaged);
        EXPECT_LT(paths_in(folder.path()).size(), 4u) << at;
    }
}

TEST_F(JournalTest, AJournalOfAnotherBootIsIgnored) {
    fill();
    std::string other = content();
    other[20] = other[20] == 'x' ? 'y' : 'x';
    replace(other);
    EXPECT_TRUE(paths_in(folder.path()).empty());
}

TEST_F(JournalTest, RewritingKeepsTheFileSmall) {
    Journal journal(folder.path());
    ASSERT_TRUE(journal.rewrite({put("/a")}));
    int rewrites = 0;
    for (int i = 0; i < 100000; ++i) {
        ASSERT_TRUE(journal.append({put("/a")}));
        if (journal.wants_rewrite()) {
            ASSERT_TRUE(journal.rewrite({put("/a")}));
            ++rewrites;
        }
    }
    EXPECT_GE(rewrites, 2);
    EXPECT_LT(std::filesystem::file_size(folder.path() / "journal"), 2u * 1024 * 1024);
}

TEST_F(JournalTest, OthersMayNotLookInside) {
    fill();
    EXPECT_EQ(std::filesystem::status(folder.path()).permissions(), std::filesystem::perms::owner_all);
    EXPECT_EQ(std::filesystem::status(folder.path() / "journal").permissions() & std::filesystem::perms::others_all,
              std::filesystem::perms::none);
}

} // namespace domus::xenstore::server
