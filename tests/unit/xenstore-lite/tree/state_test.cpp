// The state as records: what the journal carries across a crash is the whole state, no more and no less.
#include "fixture.hpp"

#include <random>

namespace domus::xenstore::tree {

using State = StoreTest;
using Kind = Record::Kind;

namespace {
/// A store rebuilt from records, through their bytes.
struct Revived {
    explicit Revived(const std::vector<Record>& records) : store(host, Limits{}) {
        std::string bytes;
        for (const auto& record : records) {
            encode(record, bytes);
        }
        std::string_view rest = bytes;
        while (!rest.empty()) {
            auto record = decode(rest);
            EXPECT_TRUE(record);
            store.restore(*record);
        }
        store.restored();
    }
    FakeHost host;
    Store store;
};
} // namespace

TEST_F(State, RecordsSurviveTheirBytes) {
    const Record record{Kind::watch, 7, 1ULL << 40, 3, "/a/b", std::string("t\0k", 3), {{1, 'n'}, {65535, 'b'}}};
    std::string bytes;
    encode(record, bytes);
    std::string_view rest = bytes;
    EXPECT_EQ(decode(rest), record);
    EXPECT_TRUE(rest.empty());
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
        rest = std::string_view(bytes).substr(0, cut);
        EXPECT_FALSE(decode(rest)) << cut;
    }
}

TEST_F(State, GarbageIsNoRecord) {
    std::mt19937 random(3);
    for (int i = 0; i < 20000; ++i) {
        std::string bytes(random() % 80, '\0');
        for (auto& byte : bytes) {
            byte = static_cast<char>(random() % 4 ? 0 : random());
        }
        std::string_view rest = bytes;
        (void)decode(rest); // must neither crash nor read beyond
    }
}

TEST_F(State, JournalAndSnapshotBothRebuildTheStore) {
    const auto one = guest(1);
    guest(2);
    ask(tools, XS_SET_TARGET, wire::join({"1", "2"}));
    write(one, "data/x", std::string("v\0w", 3));
    write(one, "data/gone", "");
    rm(one, "data/gone");
    watch(one, "data", "t", "3");
    watch(one, "/local/domain/1/data", "gone");
    ask(one, XS_UNWATCH, wire::join({"/local/domain/1/data", "gone"}));
    chmod(tools, "@introduceDomain", {"n0", "r2"});
    const auto tx = begin(one);
    store.domains_changed({{1, false, false}, {2, true, false}});
    for (const auto& records : {host.records, store.snapshot()}) {
        Revived revived(records);
        EXPECT_EQ(dump(revived.store), dump(store));
        EXPECT_EQ(revived.store.accounts().nodes_of(1), store.accounts().nodes_of(1));
        EXPECT_EQ(revived.store.domains().at(1).target, 2);
        EXPECT_TRUE(revived.store.domains().at(2).shut_down);
        EXPECT_EQ(revived.store.snapshot(), store.snapshot());
        // The watch is in force, relative as it was.
        revived.store.open(tools, 0);
        revived.store.handle(tools, {XS_WRITE, 1, 0, nul("/local/domain/1/data/y")});
        const auto& seen = revived.host.delivered[one];
        ASSERT_EQ(seen.size(), 1u);
        EXPECT_EQ(seen[0].payload, wire::join({"data/y", "t"}));
        // The transaction goes on, and asks to be started again.
        revived.store.handle(one, {XS_READ, 2, tx, nul("data/x")});
        EXPECT_EQ(revived.host.delivered[one].back().payload, std::string("v\0w", 3));
        revived.store.handle(one, {XS_WRITE, 3, tx, nul("data/z") + "lost"});
        EXPECT_EQ(revived.host.delivered[one].back().payload, nul("OK"));
        revived.store.handle(one, {XS_TRANSACTION_END, 4, tx, nul("T")});
        EXPECT_EQ(revived.host.delivered[one].back().payload, nul("EAGAIN"));
        revived.store.handle(one, {XS_READ, 5, 0, nul("data/z")});
        EXPECT_EQ(revived.host.delivered[one].back().payload, nul("ENOENT"));
    }
}

TEST_F(State, OwedEventsSurvive) {
    const auto one = guest(1);
    watch(one, "data", "t");
    host.stuck.insert(one);
    write(tools, "/local/domain/1/data", "x");
    Revived revived(host.records);
    revived.store.drained(one);
    ASSERT_EQ(revived.host.delivered[one].size(), 1u);
    EXPECT_EQ(revived.host.delivered[one][0].payload, wire::join({"data", "t"}));
}

TEST_F(State, SocketsLeaveNothingInTheJournalButTheTree) {
    watch(tools, "/a", "t");
    begin(tools);
    EXPECT_TRUE(host.records.empty());
    write(tools, "/a/b", "");
    EXPECT_EQ(host.records.size(), 2u); // the parent and the node
}

TEST_F(State, RecordsThatDoNotFitAreRefused) {
    const std::vector<Record> bad = {
        {Kind::put, 0, 0, 0, "/a/b", {}, {{0, 'n'}}},                                        // no parent
        {Kind::put, 0, 0, 0, "/a", {}, {}},                                                  // no permissions
        {Kind::remove, 0, 0, 0, "/a", {}, {}},                                               // not there
        {Kind::remove, 0, 0, 0, "/", {}, {}},         {Kind::watch, 5, 0, 0, "/a", "t", {}}, // no such connection
    };
    for (const auto& record : bad) {
        EXPECT_THROW(store.restore(record), std::runtime_error) << record.path;
    }
}

TEST_F(State, GenerationsGoOnAfterARestart) {
    write(tools, "/a/b", "");
    const Answer before = ask(tools, XS_DIRECTORY_PART, wire::join({"/a", "0"}));
    Revived revived(store.snapshot());
    revived.store.open(tools, 0);
    revived.store.handle(tools, {XS_DIRECTORY_PART, 1, 0, wire::join({"/a", "0"})});
    EXPECT_NE(revived.host.delivered[tools].back().payload, before.payload);
}

} // namespace domus::xenstore::tree
