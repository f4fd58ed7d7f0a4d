// Nodes: reading, writing, listing, removing, permissions, and paths that are none.
#include "fixture.hpp"

#include "xenstore-lite/tree/path.hpp"

namespace domus::xenstore::tree {

using Nodes = StoreTest;
using testing::HasSubstr;

TEST_F(Nodes, WriteMakesParentsAndReadGivesBytesBack) {
    const std::string value("a\0b\xff", 4);
    EXPECT_EQ(write(tools, "/a/b/c", value), "");
    EXPECT_EQ(read(tools, "/a/b/c"), value);
    EXPECT_EQ(read(tools, "/a/b"), "");
    EXPECT_EQ(list(tools, "/a"), "b");
    EXPECT_EQ(read(tools, "/a/x"), "ENOENT");
    EXPECT_EQ(list(tools, "/a/x"), "ENOENT");
}

TEST_F(Nodes, MkdirKeepsAnExistingValue) {
    write(tools, "/a", "value");
    EXPECT_EQ(mkdir(tools, "/a"), "");
    EXPECT_EQ(read(tools, "/a"), "value");
}

TEST_F(Nodes, RemoveTakesTheSubtreeAndIsKindToWhatIsGone) {
    write(tools, "/a/b/c", "1");
    EXPECT_EQ(rm(tools, "/a/b"), "");
    EXPECT_EQ(read(tools, "/a/b/c"), "ENOENT");
    EXPECT_EQ(rm(tools, "/a/b"), "");         // its parent is there
    EXPECT_EQ(rm(tools, "/a/b/c"), "ENOENT"); // its parent is not
    EXPECT_EQ(rm(tools, "/"), "EINVAL");
}

TEST_F(Nodes, RelativePathsBelongToTheDomainsHome) {
    const auto one = guest(1);
    EXPECT_EQ(write(one, "data/x", "1"), "");
    EXPECT_EQ(read(tools, "/local/domain/1/data/x"), "1");
    EXPECT_EQ(write(tools, "name", "Domain-0"), ""); // sockets act as domain 0
    EXPECT_EQ(read(tools, "/local/domain/0/name"), "Domain-0");
}

TEST_F(Nodes, IllegalPathsAreRefusedByEveryRequest) {
    const std::vector<std::string> bad = {"",
                                          "//",
                                          "/a/",
                                          "/a//b",
                                          "/a b",
                                          "/a\xc3\xa4",
                                          "@x",
                                          "/a:b",
                                          "/local/domain/",
                                          "a//b",
                                          "/" + std::string(3072, 'a'),
                                          std::string(2049, 'a'),
                                          "/a\n",
                                          "/../a."};
    for (const auto& path : bad) {
        for (const auto type : {XS_READ, XS_DIRECTORY, XS_MKDIR, XS_RM, XS_WRITE}) {
            EXPECT_EQ(ask(tools, type, nul(path)).error, "EINVAL") << path;
        }
        EXPECT_EQ(chmod(tools, path, {"n0"}), path == "@x" ? "ENOENT" : "EINVAL") << path;
    }
    EXPECT_EQ(write(tools, "/" + std::string(3071, 'a'), "x"), ""); // the longest legal one
}

TEST_F(Nodes, PayloadsWithoutTheirStringsAreRefused) {
    for (std::uint32_t type = 0; type < 40; ++type) {
        for (const auto& payload :
             {std::string(), std::string("/a"), std::string("\0\0\0", 3), std::string("/a\0/b", 5)}) {
            const Answer answer = ask(tools, type, payload);
            EXPECT_NE(answer.error, "no answer");
            const bool fine = (type == XS_TRANSACTION_START || type == XS_RESET_WATCHES || type == XS_WRITE);
            EXPECT_TRUE(!answer.ok() || fine) << type;
        }
    }
}

TEST_F(Nodes, UnknownRequestsAreAnswered) {
    for (const std::uint32_t type : {20u, 23u, 999u, 0xffffu, 0xffffffffu, static_cast<std::uint32_t>(XS_ERROR),
                                     static_cast<std::uint32_t>(XS_WATCH_EVENT)}) {
        EXPECT_EQ(ask(tools, type, nul("/")).error, "ENOSYS");
    }
}

TEST_F(Nodes, LongListingsComeInParts) {
    std::set<std::string> expected;
    for (int i = 0; i < 500; ++i) {
        expected.insert("child-with-a-long-name-" + std::to_string(i));
        write(tools, "/many/child-with-a-long-name-" + std::to_string(i), "");
    }
    EXPECT_EQ(ask(tools, XS_DIRECTORY, nul("/many")).error, "E2BIG");
    std::string names;
    std::string generation;
    for (int parts = 0; parts < 100; ++parts) {
        const Answer answer = ask(tools, XS_DIRECTORY_PART, wire::join({"/many", std::to_string(names.size())}));
        ASSERT_TRUE(answer.ok()) << answer.error;
        const auto cut = answer.payload.find('\0');
        const std::string piece = answer.payload.substr(cut + 1);
        EXPECT_TRUE(generation.empty() || generation == answer.payload.substr(0, cut));
        generation = answer.payload.substr(0, cut);
        names += piece;
        if (piece.ends_with(std::string(2, '\0'))) {
            break;
        }
    }
    names.pop_back();
    const auto all = wire::split(names);
    EXPECT_EQ(std::set<std::string>(all.begin(), all.end()), expected);
    EXPECT_EQ(all.size(), expected.size());
    write(tools, "/many/another", "");
    const Answer after = ask(tools, XS_DIRECTORY_PART, wire::join({"/many", "0"}));
    EXPECT_NE(after.payload.substr(0, after.payload.find('\0')), generation);
    EXPECT_EQ(ask(tools, XS_DIRECTORY_PART, wire::join({"/many", "999999"})).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_DIRECTORY_PART, wire::join({"/many", "-1"})).error, "EINVAL");
    EXPECT_EQ(ask(tools, XS_DIRECTORY_PART, wire::join({"/tool-less", "0"})).error, "ENOENT");
}

TEST_F(Nodes, PermissionsDecideWhatADomainSees) {
    const auto one = guest(1);
    const auto two = guest(2);
    write(tools, "/secret", "s");
    EXPECT_EQ(read(one, "/secret"), "EACCES");
    EXPECT_EQ(read(one, "/nothing-here"), "EACCES"); // not even that it is absent
    EXPECT_EQ(list(one, "/"), "EACCES");
    EXPECT_EQ(list(one, "/local/domain/1"), "data");
    EXPECT_EQ(write(one, "/local/domain/1/new", "x"), "EACCES"); // may read its home, not write
    EXPECT_EQ(write(one, "data/mine", "1"), "");
    EXPECT_EQ(read(two, "/local/domain/1/data/mine"), "EACCES");
    EXPECT_EQ(chmod(one, "data/mine", {"n1", "r2"}), "");
    EXPECT_EQ(read(two, "/local/domain/1/data/mine"), "1");
    EXPECT_EQ(write(two, "/local/domain/1/data/mine", "2"), "EACCES");
    EXPECT_EQ(rm(two, "/local/domain/1/data/mine"), "EACCES");
    EXPECT_EQ(chmod(two, "/local/domain/1/data/mine", {"n1", "b2"}), "EACCES");
    EXPECT_EQ(chmod(one, "data/mine", {"w1"}), "");
    EXPECT_EQ(write(two, "/local/domain/1/data/mine", "2"), ""); // the owner's letter is for everybody else
    EXPECT_EQ(read(two, "/local/domain/1/data/mine"), "EACCES");
    EXPECT_EQ(read(one, "data/mine"), "2"); // the owner always may
}

TEST_F(Nodes, NewNodesInheritTheListAndBelongToTheirMaker) {
    const auto one = guest(1);
    EXPECT_EQ(chmod(one, "data", {"n1", "r7", "b9"}), "");
    EXPECT_EQ(write(one, "data/a/b", "x"), "");
    EXPECT_EQ(permissions(tools, "/local/domain/1/data/a"), "n1,r7,b9");
    EXPECT_EQ(write(tools, "/local/domain/1/data/c", "x"), "");
    EXPECT_EQ(permissions(tools, "/local/domain/1/data/c"), "n1,r7,b9"); // domain 0 leaves the owner alone
}

TEST_F(Nodes, MalformedPermissionsChangeNothing) {
    write(tools, "/a", "x");
    for (const auto& list : std::vector<std::vector<std::string>>{{}, {""}, {"x1"}, {"b"}, {"n0", "r70000"}}) {
        EXPECT_EQ(chmod(tools, "/a", list), "EINVAL");
    }
    EXPECT_EQ(permissions(tools, "/a"), "n0");
}

TEST(Path, LevelsAndContainment) {
    EXPECT_TRUE(is_within("/a/b", "/a"));
    EXPECT_TRUE(is_within("/a", "/a"));
    EXPECT_TRUE(is_within("/a", "/"));
    EXPECT_FALSE(is_within("/ab", "/a"));
    EXPECT_FALSE(is_within("/a", "/a/b"));
    EXPECT_EQ(levels_below("/a/b/c", "/a"), 2u);
    EXPECT_EQ(levels_below("/a", "/a"), 0u);
    EXPECT_EQ(levels_below("/a/b", "/"), 2u);
    EXPECT_EQ(levels_below("/", "/"), 0u);
    EXPECT_EQ(parent_of("/a/b"), "/a");
    EXPECT_EQ(parent_of("/a"), "/");
    EXPECT_EQ(parent_of("/"), "/");
}

} // namespace domus::xenstore::tree
