// Domains: introducing, releasing, dying, targets, and what only domain 0 may ask.
#include "fixture.hpp"

namespace domus::xenstore::tree {

using Domains = StoreTest;
using Events = std::vector<std::string>;

TEST_F(Domains, IntroduceConnectsAndReleaseDisconnects) {
    EXPECT_EQ(ask(tools, XS_IS_DOMAIN_INTRODUCED, nul("3")).payload, nul("F"));
    guest(3);
    EXPECT_TRUE(host.connected.contains(3));
    EXPECT_EQ(ask(tools, XS_IS_DOMAIN_INTRODUCED, nul("3")).payload, nul("T"));
    EXPECT_EQ(ask(tools, XS_GET_DOMAIN_PATH, nul("3")).payload, nul("/local/domain/3"));
    EXPECT_EQ(ask(tools, XS_RELEASE, nul("3")).error, "");
    EXPECT_FALSE(host.connected.contains(3));
    EXPECT_EQ(ask(tools, XS_RELEASE, nul("3")).error, "ENOENT");
}

TEST_F(Domains, IntroducingAgainIsHarmlessAndANewPortReconnects) {
    const auto one = guest(1);
    watch(one, "data", "t");
    events(one);
    EXPECT_EQ(ask(tools, XS_INTRODUCE, wire::join({"1", "4711", "5"})).error, "");
    write(tools, "/local/domain/1/data", "x");
    EXPECT_EQ(events(one), (Events{"data t"}));
    EXPECT_EQ(ask(tools, XS_INTRODUCE, wire::join({"1", "4711", "6"})).error, "");
    write(tools, "/local/domain/1/data", "y");
    EXPECT_TRUE(events(one).empty()); // another connection: its watches are gone
}

TEST_F(Domains, BadIntroductionsAreRefused) {
    const std::vector<std::vector<std::string>> bad = {{},
                                                       {"1"},
                                                       {"1", "2"},
                                                       {"0", "1", "1"},
                                                       {"x", "1", "1"},
                                                       {"1", "-5", "1"},
                                                       {"1", "1", "0"},
                                                       {"32752", "1", "1"},
                                                       {"1", "1", "99999999999"},
                                                       {"-1", "1", "1"}};
    for (const auto& each : bad) {
        EXPECT_EQ(ask(tools, XS_INTRODUCE, wire::join(each)).error, "EINVAL");
    }
    host.connect_result = ENOENT;
    EXPECT_EQ(ask(tools, XS_INTRODUCE, wire::join({"9", "1", "1"})).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_IS_DOMAIN_INTRODUCED, nul("9")).payload, nul("F"));
}

TEST_F(Domains, OnlyDomain0Manages) {
    const auto one = guest(1);
    EXPECT_EQ(ask(one, XS_INTRODUCE, wire::join({"5", "1", "1"})).error, "EACCES");
    EXPECT_EQ(ask(one, XS_RELEASE, nul("1")).error, "EACCES");
    EXPECT_EQ(ask(one, XS_RESUME, nul("1")).error, "EACCES");
    EXPECT_EQ(ask(one, XS_SET_TARGET, wire::join({"1", "2"})).error, "EACCES");
    EXPECT_EQ(ask(one, XS_CONTROL, nul("check")).error, "EACCES");
}

TEST_F(Domains, ShutdownIsToldOnceAndAgainAfterResume) {
    guest(1);
    watch(tools, "@releaseDomain", "r");
    events(tools);
    store.domains_changed({{0, false, false}, {1, true, false}});
    store.domains_changed({{0, false, false}, {1, true, false}});
    EXPECT_EQ(events(tools), (Events{"@releaseDomain r"}));
    EXPECT_EQ(ask(tools, XS_IS_DOMAIN_INTRODUCED, nul("1")).payload, nul("T")); // it may be looked at still
    EXPECT_EQ(ask(tools, XS_RESUME, nul("1")).error, "");
    store.domains_changed({{1, true, false}});
    EXPECT_EQ(events(tools), (Events{"@releaseDomain r"}));
    EXPECT_EQ(ask(tools, XS_RESUME, nul("8")).error, "ENOENT");
}

TEST_F(Domains, ADyingDomainIsLetGoAtOnce) {
    const auto one = guest(1);
    watch(one, "data", "t");
    begin(one);
    watch(tools, "@releaseDomain", "r");
    events(tools);
    store.domains_changed({{1, true, true}});
    EXPECT_FALSE(host.connected.contains(1)); // or its page could never be freed
    EXPECT_EQ(ask(tools, XS_IS_DOMAIN_INTRODUCED, nul("1")).payload, nul("F"));
    EXPECT_EQ(events(tools), (Events{"@releaseDomain r"}));
    store.domains_changed({});
    EXPECT_EQ(events(tools), (Events{"@releaseDomain r"}));
    store.domains_changed({});
    EXPECT_TRUE(events(tools).empty());
}

TEST_F(Domains, TargetActsWithTheOthersPermissions) {
    const auto model = guest(1);
    guest(2);
    EXPECT_EQ(write(model, "/local/domain/2/data/x", "1"), "EACCES");
    EXPECT_EQ(ask(tools, XS_SET_TARGET, wire::join({"1", "2"})).error, "");
    EXPECT_EQ(write(model, "/local/domain/2/data/x", "1"), "");
    EXPECT_EQ(chmod(model, "/local/domain/2/data", {"n2", "r5"}), "");
    EXPECT_EQ(ask(tools, XS_SET_TARGET, wire::join({"1", "0"})).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_SET_TARGET, wire::join({"1", "1"})).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_SET_TARGET, wire::join({"9", "2"})).error, "ENOENT");
    // The target's number must not lead the device model to a successor.
    store.domains_changed({{1, false, false}});
    guest(2);
    EXPECT_EQ(write(model, "/local/domain/2/data/x", "1"), "EACCES");
}

TEST_F(Domains, ControlAnswers) {
    EXPECT_THAT(ask(tools, XS_CONTROL, nul("help")).payload, testing::HasSubstr("check"));
    EXPECT_THAT(ask(tools, XS_CONTROL, nul("quota")).payload, testing::HasSubstr("nodes: 1000"));
    EXPECT_EQ(ask(tools, XS_CONTROL, wire::join({"quota", "nodes", "7"})).error, "");
    EXPECT_EQ(store.limits().nodes, 7u);
    EXPECT_EQ(ask(tools, XS_CONTROL, wire::join({"quota", "bogus", "7"})).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_CONTROL, wire::join({"print", "hello"})).error, "");
    EXPECT_EQ(host.printed, "hello");
    EXPECT_EQ(ask(tools, XS_CONTROL, nul("format-disk")).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_CONTROL, "").error, "EINVAL");
}

} // namespace domus::xenstore::tree
