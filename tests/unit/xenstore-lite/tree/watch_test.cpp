// Watches: who is told what, and when.
#include "fixture.hpp"

namespace domus::xenstore::tree {

using Watching = StoreTest;
using Events = std::vector<std::string>;

TEST_F(Watching, FiresOnceAtOnceThenForTheNodeAndAllBelow) {
    EXPECT_EQ(watch(tools, "/a", "t"), "");
    EXPECT_EQ(events(tools), (Events{"/a t"}));
    write(tools, "/a/b/c", "1");
    write(tools, "/ab", "1");
    EXPECT_EQ(events(tools), (Events{"/a/b/c t"}));
    chmod(tools, "/a/b", {"n0", "r1"});
    rm(tools, "/a/b");
    EXPECT_EQ(events(tools), (Events{"/a/b t", "/a/b t"}));
    mkdir(tools, "/a"); // exists: nothing changed
    EXPECT_TRUE(events(tools).empty());
}

TEST_F(Watching, RemovalOfAParentTellsTheWatchedPath) {
    write(tools, "/a/b/c", "1");
    watch(tools, "/a/b/c", "deep");
    watch(tools, "/a/b/other", "absent");
    events(tools);
    rm(tools, "/a");
    EXPECT_EQ(events(tools), (Events{"/a/b/c deep"}));
}

TEST_F(Watching, DepthLimitsTheLevels) {
    watch(tools, "/a", "none", "0");
    watch(tools, "/a", "one", "1");
    events(tools);
    write(tools, "/a", "");
    write(tools, "/a/b", "");
    write(tools, "/a/b/c", "");
    EXPECT_EQ(events(tools), (Events{"/a none", "/a one", "/a/b one"}));
    EXPECT_EQ(watch(tools, "/a", "bad", "x"), "EINVAL");
    EXPECT_EQ(watch(tools, "/a", "bad", "-1"), "EINVAL");
    EXPECT_EQ(watch(tools, "@releaseDomain", "bad", "2"), "EINVAL");
}

TEST_F(Watching, SameTokenTwiceIsRefusedAndUnwatchEndsIt) {
    EXPECT_EQ(watch(tools, "/a", "t"), "");
    EXPECT_EQ(watch(tools, "/a", "t"), "EEXIST");
    EXPECT_EQ(watch(tools, "/a", "u"), "");
    EXPECT_EQ(ask(tools, XS_UNWATCH, wire::join({"/a", "t"})).error, "");
    EXPECT_EQ(ask(tools, XS_UNWATCH, wire::join({"/a", "t"})).error, "ENOENT");
    events(tools);
    write(tools, "/a", "");
    EXPECT_EQ(events(tools), (Events{"/a u"}));
    EXPECT_EQ(ask(tools, XS_RESET_WATCHES, nul("")).error, "");
    write(tools, "/a", "");
    EXPECT_TRUE(events(tools).empty());
}

TEST_F(Watching, RelativeWatchesGetRelativePaths) {
    const auto one = guest(1);
    watch(one, "data", "t");
    watch(one, "/local/domain/1/data", "abs");
    EXPECT_EQ(events(one), (Events{"data t", "/local/domain/1/data abs"}));
    write(tools, "/local/domain/1/data/x", "");
    EXPECT_EQ(events(one), (Events{"data/x t", "/local/domain/1/data/x abs"}));
    rm(tools, "/local/domain/1/data");
    EXPECT_EQ(events(one), (Events{"data t", "/local/domain/1/data abs"}));
}

TEST_F(Watching, ResetWatchesEndsTransactionsToo) {
    const auto tx = begin(tools);
    ask(tools, XS_RESET_WATCHES, nul(""));
    EXPECT_EQ(end(tools, tx), "ENOENT");
}

TEST_F(Watching, AClosedConnectionIsToldNothing) {
    store.open(tools + 1, 0);
    watch(tools + 1, "/a", "t");
    events(tools + 1);
    store.close(tools + 1);
    write(tools, "/a", "");
    EXPECT_TRUE(events(tools + 1).empty());
    store.handle(tools + 1, {XS_READ, 1, 0, nul("/a")});
    EXPECT_TRUE(host.delivered[tools + 1].empty());
}

TEST_F(Watching, AClientThatDoesNotReadIsOwedOneEventPerWatch) {
    const auto one = guest(1);
    watch(one, "data", "t");
    events(one);
    host.stuck.insert(one);
    for (int i = 0; i < 1000; ++i) {
        write(tools, "/local/domain/1/data/" + std::to_string(i), "");
    }
    EXPECT_TRUE(events(one).empty());
    store.drained(one);
    EXPECT_TRUE(events(one).empty()); // still stuck
    host.stuck.clear();
    store.drained(one);
    EXPECT_EQ(events(one), (Events{"data t"}));
    write(tools, "/local/domain/1/data/x", "");
    EXPECT_EQ(events(one), (Events{"data/x t"}));
}

TEST_F(Watching, IntroduceAndReleaseAreEvents) {
    watch(tools, "@introduceDomain", "i");
    watch(tools, "@releaseDomain", "r");
    watch(tools, "@releaseDomain", "deep", "1");
    watch(tools, "@releaseDomain/2", "two");
    events(tools);
    guest(1);
    guest(2);
    EXPECT_EQ(events(tools), (Events{"@introduceDomain i", "@introduceDomain i"}));
    ask(tools, XS_RELEASE, nul("1"));
    EXPECT_EQ(events(tools), (Events{"@releaseDomain r", "@releaseDomain/1 deep"}));
    ask(tools, XS_RELEASE, nul("2"));
    EXPECT_EQ(events(tools), (Events{"@releaseDomain r", "@releaseDomain/2 deep", "@releaseDomain/2 two"}));
}

TEST_F(Watching, SpecialEventsReachGuestsOnlyByPermission) {
    const auto one = guest(1);
    EXPECT_EQ(watch(one, "@releaseDomain", "r"), "");
    events(one);
    guest(2);
    ask(tools, XS_RELEASE, nul("2"));
    EXPECT_TRUE(events(one).empty());
    EXPECT_EQ(chmod(one, "@releaseDomain", {"r1"}), "EACCES");
    EXPECT_EQ(chmod(tools, "@releaseDomain", {"n0", "r1"}), "");
    EXPECT_EQ(permissions(tools, "@releaseDomain"), "n0,r1");
    guest(2);
    ask(tools, XS_RELEASE, nul("2"));
    EXPECT_EQ(events(one), (Events{"@releaseDomain r"}));
    EXPECT_EQ(chmod(tools, "@nonsense", {"n0"}), "ENOENT");
}

} // namespace domus::xenstore::tree
