// Transactions: isolation, what conflicts and what does not, and that a failed commit leaves nothing behind.
#include "fixture.hpp"

namespace domus::xenstore::tree {

using Transactions = StoreTest;

TEST_F(Transactions, ChangesAreSeenInsideAtOnceAndOutsideAfterCommit) {
    write(tools, "/a", "old");
    const auto tx = begin(tools);
    EXPECT_EQ(write(tools, "/a", "new", tx), "");
    EXPECT_EQ(write(tools, "/b/c", "1", tx), "");
    EXPECT_EQ(read(tools, "/a", tx), "new");
    EXPECT_EQ(list(tools, "/b", tx), "c");
    EXPECT_EQ(read(tools, "/a"), "old");
    EXPECT_EQ(read(tools, "/b"), "ENOENT");
    EXPECT_EQ(end(tools, tx), "");
    EXPECT_EQ(read(tools, "/a"), "new");
    EXPECT_EQ(read(tools, "/b/c"), "1");
    EXPECT_EQ(end(tools, tx), "ENOENT"); // the number is no longer valid
}

TEST_F(Transactions, AbortDropsEverything) {
    const auto tx = begin(tools);
    write(tools, "/a", "x", tx);
    EXPECT_EQ(end(tools, tx, false), "");
    EXPECT_EQ(read(tools, "/a"), "ENOENT");
}

TEST_F(Transactions, SnapshotDoesNotMove) {
    write(tools, "/a", "1");
    const auto tx = begin(tools);
    write(tools, "/a", "2");
    EXPECT_EQ(read(tools, "/a", tx), "1");
    EXPECT_EQ(end(tools, tx), "EAGAIN");
}

TEST_F(Transactions, ConflictsOnWhatWasReadOrWritten) {
    write(tools, "/a/x", "1");
    struct Case {
        const char* what;
        std::function<void(std::uint32_t)> inside;
        std::function<void()> outside;
        bool conflict;
    };
    const std::vector<Case> cases = {
        {"read, other wrote", [&](auto tx) { read(tools, "/a/x", tx); }, [&] { write(tools, "/a/x", "2"); }, true},
        {"read, other touched a sibling", [&](auto tx) { read(tools, "/a/x", tx); }, [&] { write(tools, "/a/y", "2"); },
         false},
        {"both wrote", [&](auto tx) { write(tools, "/a/x", "t", tx); }, [&] { write(tools, "/a/x", "2"); }, true},
        {"listed, other added", [&](auto tx) { list(tools, "/a", tx); }, [&] { write(tools, "/a/z", ""); }, true},
        {"listed, other changed a child's value", [&](auto tx) { list(tools, "/a", tx); },
         [&] { write(tools, "/a/x", "3"); }, false},
        {"found absent, other created", [&](auto tx) { read(tools, "/new", tx); }, [&] { write(tools, "/new", ""); },
         true},
        {"created, other created a sibling", [&](auto tx) { write(tools, "/a/n1", "", tx); },
         [&] { write(tools, "/a/n2", ""); }, false},
        {"read, other removed", [&](auto tx) { read(tools, "/a/x", tx); }, [&] { rm(tools, "/a/x"); }, true},
        {"wrote below what other removed", [&](auto tx) { write(tools, "/a/x", "4", tx); }, [&] { rm(tools, "/a"); },
         true},
        {"nothing", [](auto) {}, [&] { write(tools, "/a/x", "5"); }, false},
    };
    for (const auto& each : cases) {
        write(tools, "/a/x", "1");
        rm(tools, "/new");
        const auto tx = begin(tools);
        each.inside(tx);
        each.outside();
        EXPECT_EQ(end(tools, tx), each.conflict ? "EAGAIN" : "") << each.what;
    }
}

TEST_F(Transactions, PermissionsAreJudgedAgainAtCommit) {
    const auto one = guest(1);
    write(one, "data/x", "1");
    const auto tx = begin(one);
    EXPECT_EQ(write(one, "data/y", "2", tx), "");
    EXPECT_EQ(chmod(tools, "/local/domain/1/data", {"n0"}), "");
    EXPECT_EQ(end(one, tx), "EAGAIN");
    EXPECT_EQ(read(tools, "/local/domain/1/data/y"), "ENOENT");
}

TEST_F(Transactions, FailedCommitDoesNoneOfItsEdits) {
    const auto one = guest(1);
    EXPECT_EQ(ask(tools, XS_CONTROL, wire::join({"quota", "nodes", "6"})).error, "");
    const auto tx = begin(one);
    EXPECT_EQ(write(one, "data/a", "", tx), "");
    EXPECT_EQ(write(one, "data/b", "", tx), "");
    EXPECT_EQ(write(one, "data/c", "", tx), "");
    for (const auto* name : {"data/1", "data/2", "data/3"}) {
        EXPECT_EQ(write(one, name, ""), "");
    }
    const auto before = dump(store);
    EXPECT_EQ(end(one, tx), "ENOSPC");
    EXPECT_EQ(dump(store), before);
    EXPECT_THAT(check(), testing::Not(testing::HasSubstr("charged")));
}

TEST_F(Transactions, UnknownNumbersAndOthersTransactions) {
    EXPECT_EQ(read(tools, "/", 12345), "ENOENT");
    EXPECT_EQ(end(tools, 12345), "ENOENT");
    EXPECT_EQ(end(tools, 0), "ENOENT");
    const auto one = guest(1);
    const auto tx = begin(tools);
    EXPECT_EQ(end(one, tx), "ENOENT"); // numbers belong to a connection
    EXPECT_EQ(ask(tools, XS_TRANSACTION_END, nul("X"), tx).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_TRANSACTION_START, nul(""), tx).error, "EBUSY");
    EXPECT_EQ(end(tools, tx), "");
}

TEST_F(Transactions, EventsComeWithTheCommitOnly) {
    watch(tools, "/a", "t");
    events(tools);
    const auto tx = begin(tools);
    write(tools, "/a/b", "1", tx);
    EXPECT_TRUE(events(tools).empty());
    const auto dropped = begin(tools);
    write(tools, "/a/c", "1", dropped);
    end(tools, dropped, false);
    EXPECT_TRUE(events(tools).empty());
    end(tools, tx);
    EXPECT_EQ(events(tools), (std::vector<std::string>{"/a/b t"}));
}

} // namespace domus::xenstore::tree
