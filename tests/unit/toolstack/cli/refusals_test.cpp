// What domus says when it cannot do what was asked, and how it helps: --help of every verb, errors with a reason.
#include <utility>

#include "tests/unit/toolstack/cli/program.hpp"

#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using Refusals = ProgramTest;

struct Verb {
    const char* name;
    std::vector<std::string> words; // that its help has to explain
    bool needs_domain = true;
};

const std::vector<Verb> verbs = {
    {"create", {"FILE", "SETTING", "-c,--console", "-p,--paused"}, false},
    {"list", {"DOMAIN"}, false},
    {"info", {}, false},
    {"console", {"DOMAIN"}},
    {"shutdown", {"DOMAIN", "-w,--wait", "--timeout"}},
    {"reboot", {"DOMAIN", "-w,--wait", "--timeout"}},
    {"destroy", {"DOMAIN"}},
    {"pause", {"DOMAIN"}},
    {"unpause", {"DOMAIN"}},
    {"mem-set", {"DOMAIN", "MEMORY"}},
    {"dmesg", {"-c,--clear"}, false},
    {"perf", {"DOMAIN", "--reset"}, false},
    {"config-check", {"FILE", "SETTING"}, false},
    {"block-attach", {"DOMAIN", "DISK"}},
    {"block-detach", {"DOMAIN", "DEVICE", "--force"}},
    {"block-resize", {"DOMAIN", "DEVICE"}},
    {"block-list", {"DOMAIN"}},
    {"network-attach", {"DOMAIN", "VIF"}},
    {"network-detach", {"DOMAIN", "DEVICE", "--force"}},
    {"network-list", {"DOMAIN"}},
    {"domid", {"DOMAIN"}},
    {"domname", {"DOMAIN"}},
};

TEST_F(Refusals, HelpNamesEveryVerb) {
    const Ran ran = domus({"--help"});
    EXPECT_EQ(ran.status, 0);
    for (const auto& verb : verbs)
        EXPECT_THAT(ran.out, HasSubstr(std::string("\n  ") + verb.name + " ")) << verb.name;
    EXPECT_THAT(ran.out, HasSubstr("--socket"));
}

TEST_F(Refusals, EveryVerbsHelpExplainsItsWords) {
    for (const auto& verb : verbs) {
        const Ran ran = domus({verb.name, "--help"});
        EXPECT_EQ(ran.status, 0) << verb.name;
        EXPECT_EQ(ran.err, "") << verb.name;
        EXPECT_GT(ran.out.find('\n'), 12u) << verb.name << " begins with what it does:\n" << ran.out;
        EXPECT_THAT(ran.out, HasSubstr("--json")) << verb.name;
        for (const auto& word : verb.words) {
            const auto at = ran.out.rfind("\n  " + word + " ");
            ASSERT_NE(at, std::string::npos) << verb.name << " " << word << ":\n" << ran.out;
            const std::string line = ran.out.substr(at + 1, ran.out.find('\n', at + 1) - at);
            EXPECT_GT(line.size(), 35u) << verb.name << " does not say what " << word << " is: " << line;
        }
    }
}

TEST_F(Refusals, WordsThatAreMissingOrTooMany) {
    for (const auto& verb : verbs) {
        if (verb.needs_domain) {
            const Ran ran = domus({verb.name});
            EXPECT_EQ(ran.status, 2) << verb.name;
            EXPECT_THAT(ran.err, HasSubstr(": DOMAIN is required")) << verb.name;
            EXPECT_EQ(ran.out, "") << verb.name;
        }
        EXPECT_EQ(domus({verb.name, "--no-such-option"}).status, 2) << verb.name;
    }
    EXPECT_THAT(domus({"create"}).err, StartsWith("domus create: FILE is required"));
    EXPECT_THAT(domus({"mem-set", "web"}).err, StartsWith("domus mem-set: MEMORY is required"));
    EXPECT_EQ(domus({"info", "web"}).err,
              "domus info: The following argument was not expected: web; domus info --help shows what it takes\n");
    EXPECT_EQ(domus({"pause", "web", "db"}).status, 2);
    EXPECT_EQ(domus({"shutdown", "web", "--timeout", "soon"}).status, 2);
    EXPECT_EQ(domus({"shutdown", "web", "--timeout", "-1"}).status, 2);
}

TEST_F(Refusals, NoVerbOrAnUnknownOne) {
    const Ran none = domus({}), unknown = domus({"lsit"});
    EXPECT_EQ(none.status, 2);
    EXPECT_THAT(none.err, HasSubstr("--help"));
    EXPECT_EQ(unknown.status, 2);
    EXPECT_EQ(unknown.err, "domus: there is no verb \"lsit\", did you mean \"list\"; domus --help lists them\n");
    EXPECT_EQ(domus({"no-such-verb"}).err, "domus: there is no verb \"no-such-verb\"; domus --help lists them\n");
}

TEST_F(Refusals, AnErrorGoesToStandardErrorAndInJsonToBoth) {
    const Ran plain = domus({"destroy", "web"});
    EXPECT_EQ(plain.status, 1);
    EXPECT_EQ(plain.out, "");
    EXPECT_EQ(plain.err, "domus: there is no guest called web; domus list shows which there are\n");
    const Ran json = domus({"destroy", "web", "--json"});
    EXPECT_EQ(json.status, 1);
    EXPECT_EQ(json.err, plain.err);
    EXPECT_THAT(json.out,
                AllOf(StartsWith("{\"error\": {"), HasSubstr("\"message\": \"there is no guest called web;")));
}

TEST_F(Refusals, ABadConfigurationNamesItsPlace) {
    const std::string path = file("bad.cfg", "name = 'g'\nkernel = '/k\n");
    for (const char* verb : {"create", "config-check"}) {
        const Ran ran = domus({verb, path});
        EXPECT_EQ(ran.status, 1);
        EXPECT_THAT(ran.err, StartsWith("domus: " + path + ":2:10: this string is not closed")) << verb;
    }
    EXPECT_THAT(domus({"create", "/absent.cfg"}).err, HasSubstr("cannot read the configuration file /absent.cfg"));
}

TEST_F(Refusals, ABadDeviceNamesItsColumn) {
    domus({"create", config("web")});
    EXPECT_THAT(domus({"block-attach", "web", "/srv/b.img,vhdx,xvdb"}).err,
                StartsWith("domus: \"/srv/b.img,vhdx,xvdb\", column 12: disk: format \"vhdx\" is not served"));
    EXPECT_THAT(domus({"network-attach", "web", "mac=1"}).err, HasSubstr("is not a MAC address"));
    EXPECT_THAT(domus({"block-detach", "web", "nonsense"}).err, HasSubstr("is not the name of a guest's disk"));
    EXPECT_THAT(domus({"mem-set", "web", "lots"}).err, HasSubstr("\"lots\" is not a size of memory"));
}

TEST_F(Refusals, ArgumentsThatAreNotUtf8) {
    const Ran ran = domus({"destroy", "caf\xe9"});
    EXPECT_EQ(ran.status, 2);
    EXPECT_THAT(ran.err, HasSubstr("argument 6 is not UTF-8 text")) << "after the test's own four, and the verb";
}

TEST_F(Refusals, NobodyServes) {
    socket = world.folder + "/nobody.sock";
    const Ran ran = domus({"list"});
    EXPECT_EQ(ran.status, 1);
    EXPECT_THAT(ran.err, HasSubstr("domusd is not running (nobody answers at " + socket + "); start it in dom0"));
}

TEST_F(Refusals, NoConsoleDaemon) {
    domus({"create", config("web")});
    const Ran ran = domus({"console", "web"});
    EXPECT_EQ(ran.status, 1);
    EXPECT_THAT(ran.err, HasSubstr("is domus-consoled running?"));
}

// domus keeps quiet for a second; from then on it shows what is being done.
TEST_F(Refusals, LongWorkTellsItsStages) {
    world.builder.meanwhile = [this]() -> boost::asio::awaitable<void> {
        boost::asio::steady_timer pause(co_await boost::asio::this_coro::executor);
        while (std::filesystem::file_size(world.folder + "/err") == 0) { // until it has said something
            pause.expires_after(std::chrono::milliseconds(10));
            co_await pause.async_wait(boost::asio::use_awaitable);
        }
    };
    const Ran ran = domus({"create", config("web")});
    EXPECT_EQ(ran.status, 0);
    EXPECT_THAT(ran.err, HasSubstr("reading the kernel"));
    EXPECT_THAT(ran.err, HasSubstr("attaching disk xvda"));
}

} // namespace
} // namespace domus::cli
