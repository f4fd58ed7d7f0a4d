// What has gone wrong in xenstore daemons before, by advisory (XSA number): each test tries it against ours.
#include "fixture.hpp"

namespace domus::xenstore::tree {

using testing::HasSubstr;
using testing::Not;

class Isolation : public StoreTest {
protected:
    static Limits small() {
        Limits limits;
        limits.nodes = 20;
        limits.watches = 4;
        limits.transactions = 3;
        limits.transaction_nodes = 10;
        limits.transaction_bytes = 8192;
        return limits;
    }
    Isolation() : StoreTest(small()) {}
};

TEST_F(Isolation, Xsa72OversizedRepliesBecomeErrors) {
    for (int i = 0; i < 400; ++i) {
        write(tools, "/big/a-child-with-a-long-name-" + std::to_string(i), "");
    }
    EXPECT_EQ(list(tools, "/big"), "E2BIG"); // the fixture checks that no reply exceeds the wire's limit
    std::vector<std::string> everybody{"n0"};
    for (int domid = 1; domid < 700; ++domid) {
        everybody.push_back("r" + std::to_string(domid));
    }
    EXPECT_EQ(ask(tools, XS_SET_PERMS, nul("/big") + wire::join(everybody)).error, "");
    EXPECT_LE(ask(tools, XS_GET_PERMS, nul("/big")).payload.size(), wire::max_payload);
    EXPECT_EQ(write(tools, "/" + std::string(1000, 'p'), std::string(3000, 'v')), "");
    EXPECT_EQ(read(tools, "/" + std::string(1000, 'p')).size(), 3000u);
}

TEST_F(Isolation, Xsa115EventsFollowReadPermission) {
    const auto one = guest(1);
    write(tools, "/secret/key", "s");
    watch(one, "/secret", "s");
    watch(one, "/local", "l");
    host.delivered.clear();
    write(tools, "/secret/key", "t");
    write(tools, "/secret/new", "t");
    chmod(tools, "/secret/key", {"n0", "w1"});
    rm(tools, "/secret");
    write(tools, "/local/domain/7/x", "");
    EXPECT_TRUE(events(one).empty());
}

TEST_F(Isolation, Xsa115RemovalIsToldToWhoCouldReadIt) {
    const auto one = guest(1);
    write(tools, "/open/a", "");
    chmod(tools, "/open/a", {"n0", "r1"});
    watch(one, "/open/a", "t");
    host.delivered.clear();
    rm(tools, "/open");
    EXPECT_EQ(events(one), (std::vector<std::string>{"/open/a t"}));
}

TEST_F(Isolation, Xsa206AGuestCannotStallDomain0sTransactions) {
    const auto one = guest(1);
    const auto tx = begin(tools);
    read(tools, "/local/domain/1/data", tx);
    write(one, "data", "spam");
    EXPECT_EQ(end(tools, tx), "EAGAIN");
    EXPECT_TRUE(store.held(one)); // its requests wait now
    const auto again = begin(tools);
    read(tools, "/local/domain/1/data", again);
    EXPECT_EQ(end(tools, again), "");
    EXPECT_FALSE(store.held(one));
    // A guest's own transactions hold nobody.
    const auto mine = begin(one);
    read(one, "data", mine);
    write(tools, "/local/domain/1/data", "x");
    EXPECT_EQ(end(one, mine), "EAGAIN");
    EXPECT_FALSE(store.any_held());
}

TEST_F(Isolation, Xsa233ReleaseInTheMiddleOfEverything) {
    const auto one = guest(1);
    begin(one);
    watch(one, "data", "t");
    host.stuck.insert(one);
    write(tools, "/local/domain/1/data", "x");
    const auto tx = begin(tools);
    write(tools, "/local/domain/1/data", "y", tx);
    EXPECT_EQ(ask(tools, XS_RELEASE, nul("1")).error, "");
    EXPECT_EQ(end(tools, tx), "");
    store.drained(one);
    store.handle(one, {XS_READ, 1, 0, nul("data")});
    EXPECT_THAT(check(), Not(HasSubstr("charged")));
}

TEST_F(Isolation, Xsa322ASuccessorInheritsNoPermission) {
    const auto one = guest(1);
    write(one, "data/mine", "1");
    write(tools, "/shared", "s");
    chmod(tools, "/shared", {"n0", "b1", "r2"});
    chmod(tools, "@releaseDomain", {"n0", "r1"});
    store.domains_changed({{0, false, false}}); // domain 1 is gone; 2 never was
    EXPECT_EQ(permissions(tools, "/shared"), "n0");
    EXPECT_EQ(permissions(tools, "@releaseDomain"), "n0");
    EXPECT_EQ(read(tools, "/local/domain/1/data"), "ENOENT"); // what it owned went with it
    EXPECT_EQ(permissions(tools, "/local/domain/1"), "n0");
    const auto successor = guest(1);
    EXPECT_EQ(read(successor, "/shared"), "EACCES");
}

TEST_F(Isolation, Xsa322NoEntriesForDomainsThatDoNotExist) {
    host.absent.insert(9);
    write(tools, "/a", "");
    EXPECT_EQ(chmod(tools, "/a", {"n0", "r9", "r1"}), "");
    EXPECT_EQ(permissions(tools, "/a"), "n0,r1");
    EXPECT_EQ(chmod(tools, "/a", {"n9"}), "EINVAL");
    host.absent.clear();
    const auto tx = begin(tools); // and not through a transaction either
    EXPECT_EQ(chmod(tools, "/a", {"n0", "r9"}, tx), "");
    host.absent.insert(9);
    EXPECT_EQ(end(tools, tx), "");
    EXPECT_EQ(permissions(tools, "/a"), "n0");
}

TEST_F(Isolation, Xsa323RelativePathsKeepTheAbsoluteLimit) {
    const auto one = guest(1);
    EXPECT_EQ(write(one, "data/" + std::string(2048, 'a'), ""), "EINVAL");
    EXPECT_EQ(write(one, "data/" + std::string(2000, 'a'), ""), "");
    EXPECT_EQ(read(one, "/" + std::string(3072, 'a')), "EINVAL");
}

TEST_F(Isolation, Xsa324EventsNeverExceedTheWire) {
    const auto one = guest(1);
    const std::string token(3000, 't');
    EXPECT_EQ(watch(one, "data", token), "");
    const std::string name = "data/" + std::string(2000, 'n');
    EXPECT_EQ(write(one, name, ""), ""); // relative path and token do not fit into 4096 bytes
    const auto all = events(one);
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[1], "data " + token); // told of the watched path instead of nothing
}

TEST_F(Isolation, Xsa325DeathCleansUpWhateverStateADomainIsIn) {
    const auto one = guest(1);
    store.domains_changed({{1, true, false}});
    store.domains_changed({{1, true, true}});
    EXPECT_EQ(ask(tools, XS_RELEASE, nul("1")).error, ""); // the toolstack releases what is dying already
    store.domains_changed({});
    EXPECT_TRUE(store.domains().empty());
    store.handle(one, {XS_READ, 1, 0, nul("data")});
    EXPECT_TRUE(host.delivered[one].empty());
}

TEST_F(Isolation, Xsa326WatchesAreLimited) {
    const auto one = guest(1);
    for (std::size_t i = 0; i < store.limits().watches; ++i) {
        EXPECT_EQ(watch(one, "data", std::to_string(i)), "");
    }
    EXPECT_EQ(watch(one, "data", "more"), "E2BIG");
    ask(one, XS_UNWATCH, wire::join({"data", "0"}));
    EXPECT_EQ(watch(one, "data", "more"), "");
    ask(one, XS_RESET_WATCHES, nul("")); // 330: and resetting gives all of them back
    for (std::size_t i = 0; i < store.limits().watches; ++i) {
        EXPECT_EQ(watch(one, "data", std::to_string(i)), "");
    }
}

TEST_F(Isolation, Xsa326TransactionsAreLimitedInNumberNodesAndBytes) {
    const auto one = guest(1);
    std::vector<std::uint32_t> open;
    for (std::size_t i = 0; i < store.limits().transactions; ++i) {
        open.push_back(begin(one));
    }
    EXPECT_EQ(ask(one, XS_TRANSACTION_START, nul("")).error, "ENOSPC");
    std::string error;
    for (int i = 0; i < 20 && error != "ENOSPC"; ++i) {
        error = read(one, "data/" + std::to_string(i), open[0]);
    }
    EXPECT_EQ(error, "ENOSPC"); // nodes looked at
    error.clear();
    for (int i = 0; i < 20 && error.empty(); ++i) {
        error = write(one, "data", std::string(1000, 'x'), open[1]);
    }
    EXPECT_EQ(error, "ENOSPC"); // bytes written, also to one and the same node
    for (const auto tx : open) {
        EXPECT_EQ(end(one, tx, false), "");
    }
    EXPECT_NE(begin(one), 0u);
}

TEST_F(Isolation, Xsa352OwnershipCannotBeGivenAway) {
    const auto one = guest(1);
    guest(2);
    write(one, "data/x", "");
    EXPECT_EQ(chmod(one, "data/x", {"n2", "b1"}), "EPERM");
    EXPECT_EQ(chmod(one, "data/x", {"n0"}), "EPERM");
    EXPECT_EQ(permissions(one, "data/x"), "n1");
}

TEST_F(Isolation, Xsa353TheRootHasPermissionsToo) {
    const auto one = guest(1);
    EXPECT_EQ(list(one, "/"), "EACCES");
    EXPECT_EQ(read(one, "/"), "EACCES");
    EXPECT_EQ(write(one, "/", "x"), "EACCES");
    EXPECT_EQ(write(one, "/new", "x"), "EACCES");
    EXPECT_EQ(permissions(one, "/"), "EACCES");
    EXPECT_EQ(chmod(one, "/", {"b1"}), "EACCES");
    EXPECT_EQ(rm(one, "/"), "EINVAL");
}

TEST_F(Isolation, Xsa414NodeSizeIsLimited) {
    const auto one = guest(1);
    EXPECT_EQ(write(one, "data/x", std::string(store.limits().node_size + 1, 'x')), "ENOSPC");
    EXPECT_EQ(read(one, "data/x"), "ENOENT"); // 415: and nothing half-made is left
    EXPECT_EQ(list(one, "data"), "");
    std::vector<std::string> many(6, "r2");
    many[0] = "n1";
    EXPECT_EQ(chmod(one, "data", many), "ENOSPC");
}

TEST_F(Isolation, Xsa416NodesAreLimitedWhereverTheyAre) {
    const auto one = guest(1);
    write(tools, "/public", "");
    chmod(tools, "/public", {"b0"});
    std::string error;
    int made = 0;
    for (; made < 100 && error.empty(); ++made) {
        error = write(one, (made % 2 ? "/public/" : "data/") + std::to_string(made), "");
    }
    EXPECT_EQ(error, "ENOSPC");
    EXPECT_EQ(store.accounts().nodes_of(1), store.limits().nodes);
    EXPECT_EQ(write(one, "data/a/b/c/d", ""), "ENOSPC"); // parents count
    EXPECT_EQ(rm(one, "data/0"), "");
    EXPECT_EQ(write(one, "data/again", ""), "");
}

TEST_F(Isolation, Xsa417And419NodesOfADeadDomainAreRemovedEverywhere) {
    const auto one = guest(1);
    const auto two = guest(2);
    write(tools, "/public", "");
    chmod(tools, "/public", {"b0"});
    write(one, "/public/one/deep/er", "x");
    chmod(one, "/public/one", {"b1"});
    write(two, "/public/one/twos", "x");
    store.domains_changed({{2, false, false}});
    EXPECT_EQ(read(tools, "/public/one"), "ENOENT");
    EXPECT_EQ(store.accounts().nodes_of(1), 0u);
    EXPECT_THAT(check(), Not(HasSubstr("charged")));
}

TEST_F(Isolation, Xsa418DeepTreesDoNotExhaustTheStack) {
    std::string path;
    while (path.size() + 2 <= 3072) {
        path += "/d";
    }
    EXPECT_EQ(write(tools, path, "bottom"), "");
    EXPECT_EQ(read(tools, path), "bottom");
    EXPECT_THAT(check(), HasSubstr("nodes"));
    EXPECT_EQ(rm(tools, "/d"), "");
    EXPECT_EQ(read(tools, path), "ENOENT");
}

TEST_F(Isolation, Xsa420And421TransactionsKeepTheQuota) {
    const auto one = guest(1);
    std::vector<std::uint32_t> open;
    for (int i = 0; i < 3; ++i) { // each within the quota alone
        open.push_back(begin(one));
        for (int node = 0; node < 8; ++node) {
            EXPECT_EQ(write(one, "data/" + std::to_string(i * 8 + node), "", open.back()), "");
        }
    }
    std::size_t committed = 0;
    for (const auto tx : open) {
        committed += end(one, tx).empty() ? 1 : 0;
    }
    EXPECT_EQ(committed, 2u);
    EXPECT_LE(store.accounts().nodes_of(1), store.limits().nodes);
    // 421: a transaction gives no way around permissions.
    const auto tx = begin(one);
    EXPECT_EQ(write(one, "/anywhere", "", tx), "EACCES");
    EXPECT_EQ(end(one, tx), "");
    EXPECT_EQ(read(tools, "/anywhere"), "ENOENT");
}

TEST_F(Isolation, Xsa425ReleaseOfARunningDomainAndBack) {
    const auto one = guest(1);
    write(one, "data/x", "1");
    for (int i = 0; i < 5; ++i) { // soft reset: released and introduced, with the domain alive
        EXPECT_EQ(ask(tools, XS_RELEASE, nul("1")).error, "");
        EXPECT_EQ(ask(tools, XS_INTRODUCE, wire::join({"1", "4711", "5"})).error, "");
    }
    EXPECT_EQ(read(one, "data/x"), "1");
}

TEST_F(Isolation, Xsa440AccountsDoNotGoBelowZero) {
    const auto one = guest(1);
    write(one, "data/a", "");
    write(one, "data/b", "");
    const auto tx = begin(one);
    EXPECT_EQ(rm(one, "data/a", tx), "");
    EXPECT_EQ(rm(one, "data/b", tx), "");
    rm(tools, "/local/domain/1/data");
    EXPECT_EQ(end(one, tx), "EAGAIN");
    EXPECT_EQ(store.accounts().nodes_of(1), 0u);
    EXPECT_THAT(check(), Not(HasSubstr("charged")));
}

TEST_F(Isolation, Xsa481IllegalPathsBelowLocalDomain) {
    const auto one = guest(1);
    for (const auto* path : {"/local/domain/", "/local/domain//", "/local/domain/1/", "/local/domain/x/y/"}) {
        EXPECT_EQ(read(one, path), "EINVAL");
        EXPECT_EQ(watch(one, path, "t"), "EINVAL");
    }
}

TEST_F(Isolation, Xsa483CountsStartAtZeroForASuccessor) {
    for (int generation = 0; generation < 10; ++generation) {
        const auto one = guest(1);
        std::string error;
        int made = 0;
        for (; error.empty(); ++made) {
            error = write(one, "data/" + std::to_string(made), "");
        }
        EXPECT_EQ(made, static_cast<int>(store.limits().nodes)); // "data" itself is one of them
        for (std::size_t i = 0; i < store.limits().watches; ++i) {
            EXPECT_EQ(watch(one, "data", std::to_string(i)), "");
        }
        begin(one);
        store.domains_changed({{0, false, false}});
        rm(tools, "/local/domain/1");
    }
}

} // namespace domus::xenstore::tree
