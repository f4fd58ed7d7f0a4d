// domus new-guest: what it writes compiles as it is, and what it refuses.
#include "tests/unit/toolstack/cli/program.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>

namespace domus::cli {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

struct NewGuest : ProgramTest {
    fs::path before = fs::current_path(), folder = fs::path(world.folder) / "new-guest";
    NewGuest() {
        fs::create_directory(folder);
        fs::current_path(folder);
    }
    ~NewGuest() override {
        fs::current_path(before);
        fs::remove_all(folder);
    }
    static std::string text(const fs::path& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
};

TEST_F(NewGuest, WritesAGuestThatCompiles) {
    fs::create_directory("mine");
    std::ofstream("mine/guest.mk") << "\n";
    const Ran ran = domus({"new-guest", "first", "--kit", "mine"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.out, "first: main.cpp, Makefile, first.cfg. Next: cd first && make run\n");
    // As freestanding as a guest; the kit's library is the product's, so it is not linked here.
    const std::string compile = "g++ -std=gnu++20 -ffreestanding -fno-exceptions -fno-rtti -Wall -Wextra -Werror "
                                "-Wno-missing-field-initializers -Wno-address-of-packed-member -fsyntax-only "
                                "-I" DOMUS_SOURCE " first/main.cpp";
    EXPECT_EQ(std::system(compile.c_str()), 0) << compile;
    const Ran checked = domus({"config-check", "first/first.cfg"});
    EXPECT_EQ(checked.status, 0) << checked.err;
    EXPECT_EQ(checked.err, "") << "not even a warning";
    EXPECT_THAT(text("first/Makefile"), HasSubstr("first.elf: main.o"));
    for (const char* file : {"first/Makefile", "first/main.cpp", "first/first.cfg"})
        EXPECT_THAT(text(file), Not(ContainsRegex("@[A-Z]+@"))) << file << " has a place that was not filled in";
}

TEST_F(NewGuest, TakesTheKitItIsGiven) {
    EXPECT_THAT(domus({"new-guest", "first", "--kit", "nowhere"}).err, HasSubstr("nowhere is no guestkit"));
    EXPECT_FALSE(fs::exists("first"));
    fs::create_directory("mine");
    std::ofstream("mine/guest.mk") << "\n";
    ASSERT_EQ(domus({"new-guest", "first", "--kit", "mine"}).status, 0);
    EXPECT_THAT(text("first/Makefile"), HasSubstr("KIT ?= " + (fs::current_path() / "mine").string() + "\n"));
}

// As in a dom0 of this project's RAM disk: neither kit nor compiler.
TEST_F(NewGuest, SaysWhereToBuildWhenThereIsNoKit) {
    fs::create_directories("a/b/c/d");
    fs::copy_file(DOMUS_PROGRAM, "a/b/c/d/domus"); // it looks for a kit beside where it was built
    ASSERT_EQ(std::system("a/b/c/d/domus new-guest first >said"), 0);
    EXPECT_THAT(text("said"), HasSubstr("There is no guestkit here (/usr/lib/domus/guestkit is not there): build it"));
    EXPECT_THAT(text("first/Makefile"), HasSubstr("KIT ?= /usr/lib/domus/guestkit\n"));
}

TEST_F(NewGuest, RunOutsideDom0SaysWhatToDo) {
    fs::create_directory("mine");
    std::ofstream("mine/guest.mk") << "%.elf:\n\ttouch $@\nmain.o: main.cpp\n\ttouch $@\n";
    ASSERT_EQ(domus({"new-guest", "first", "--kit", "mine"}).status, 0);
    EXPECT_NE(std::system("make -C first run >said 2>&1"), 0);
    EXPECT_THAT(text("said"), HasSubstr("make run FILES=" + (fs::current_path() / "first").string() + ", and there: "));
}

TEST_F(NewGuest, RefusesWhatIsNoNameAndWhatIsThere) {
    for (const char* bad : {"", "a b", "../up", "12", "a/b", "a.b", "ä"}) {
        const Ran ran = domus({"new-guest", bad});
        EXPECT_EQ(ran.status, 1) << bad;
        EXPECT_THAT(ran.err, HasSubstr("is no name for a new guest")) << bad;
    }
    ASSERT_EQ(domus({"new-guest", "twice"}).status, 0);
    std::ofstream("twice/main.cpp") << "mine";
    EXPECT_THAT(domus({"new-guest", "twice"}).err, HasSubstr("twice exists already"));
    EXPECT_EQ(text("twice/main.cpp"), "mine");
}

} // namespace
} // namespace domus::cli
