// The device state machine as a table, and the numbers that guests write.
#include <gtest/gtest.h>

#include "backend-drivers/common/xenbus.hpp"

namespace domus::backend {
namespace {

struct Row {
    State mine, frontend;
    bool online, connected, may_resume;
    Action expected;
    bool renewed = false;
};

TEST(DecideTest, EveryRuleOfTheMachine) {
    using enum State;
    const Row rows[] = {
        // A new device, whatever the frontend says already.
        {Initialising, Initialising, true, false, true, Action::Offer},
        {Absent, Initialising, true, false, true, Action::Offer},
        {Initialising, Initialising, false, false, true, Action::Close},
        // Found in InitWait by a new process: its features are said again first.
        {InitWait, Initialising, true, false, true, Action::Offer},
        {InitWait, Initialising, true, false, false, Action::None},
        {InitWait, Initialised, true, false, false, Action::Connect},
        {InitWait, Connected, true, false, false, Action::Connect},
        {InitWait, Closing, true, false, false, Action::ShowClosing},
        {InitWait, Closed, true, false, false, Action::Close},
        {InitWait, Initialising, false, false, false, Action::Close},
        // Connected.
        {Connected, Connected, true, true, false, Action::None},
        {Connected, Initialised, true, true, false, Action::None},
        {Connected, Closing, true, true, false, Action::ShowClosing},
        {Connected, Closed, true, true, false, Action::Close},
        {Connected, Absent, true, true, false, Action::Close},
        {Connected, Initialising, true, true, false, Action::Restart},
        {Connected, InitWait, true, true, false, Action::Restart},
        // It was away without being seen: its nodes are others.
        {Connected, Connected, true, true, false, Action::Restart, true},
        {Connected, Initialised, true, true, false, Action::Restart, true},
        {Connected, Closing, true, true, false, Action::ShowClosing, true},
        {Connected, Closed, true, true, false, Action::Close, true},
        {Closing, Connected, false, true, false, Action::None, true},
        // Unplugged by the toolstack: served until the frontend has let go.
        {Closing, Connected, false, true, false, Action::None},
        {Closing, Closing, false, true, false, Action::None},
        {Closing, Closed, false, true, false, Action::Close},
        {Closing, Initialising, false, false, false, Action::None},
        // A new process finds what the old one served.
        {Connected, Connected, true, false, true, Action::Resume},
        {Closing, Closing, false, false, true, Action::Resume},
        {Connected, Closed, true, false, true, Action::Close},
        {Connected, Initialising, true, false, true, Action::Restart},
        {Closing, Connected, true, false, false, Action::None},
        // Closed: a frontend that begins anew, of a device that is still wanted, opens it again; so does one that was
        // quicker than this side's closing, took the state Connected that it still saw for the new one, and connected.
        {Closed, Initialising, true, false, false, Action::Offer},
        {Closed, Initialising, false, false, false, Action::None},
        {Closed, Connected, true, false, false, Action::Offer},
        {Closed, Initialised, true, false, true, Action::Offer},
        {Closed, Connected, false, false, false, Action::None},
        {Closed, Closing, true, false, false, Action::None},
        {Closed, Closed, true, false, true, Action::None},
    };
    for (const Row& row : rows) {
        const Facts facts{row.mine, row.frontend, row.online, row.connected, row.may_resume, row.renewed};
        EXPECT_EQ(decide(facts), row.expected)
            << "backend " << name_of(row.mine) << ", frontend " << name_of(row.frontend) << ", online " << row.online
            << ", connected " << row.connected << ", may resume " << row.may_resume;
    }
}

/// Whatever the nodes say, a device never serves without having offered, and the machine comes to rest.
TEST(DecideTest, EveryStateComesToRest) {
    for (unsigned frontend = 0; frontend <= 8; ++frontend) {
        for (unsigned mine = 0; mine <= 8; ++mine) {
            for (unsigned bits = 0; bits < 16; ++bits) {
                Facts facts{State(mine),     State(frontend), (bits & 1) != 0,
                            (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
                int steps = 0;
                for (Action action = decide(facts); action != Action::None; action = decide(facts)) {
                    ASSERT_LT(++steps, 5) << "mine " << mine << " frontend " << frontend << " bits " << bits;
                    facts.renewed = facts.renewed && action == Action::ShowClosing;
                    facts.may_resume = facts.may_resume && action == Action::Connect;
                    facts.connected = action == Action::Connect || action == Action::Resume ||
                                      (facts.connected && action == Action::ShowClosing);
                    switch (action) {
                    case Action::Offer:
                    case Action::Restart:
                        facts.mine = State::InitWait;
                        break;
                    case Action::Connect:
                    case Action::Resume:
                        facts.mine = State::Connected;
                        break;
                    case Action::ShowClosing:
                        facts.mine = State::Closing;
                        break;
                    default:
                        facts.mine = State::Closed;
                    }
                }
            }
        }
    }
}

TEST(NumberTest, OnlyWholeDecimalNumbers) {
    EXPECT_EQ(to_number("51712"), 51712u);
    EXPECT_EQ(to_number("18446744073709551615"), ~0ull);
    for (const char* text : {"", " 1", "1 ", "-1", "+1", "0x10", "1.5", "18446744073709551616"}) {
        EXPECT_FALSE(to_number(text)) << text;
    }
    EXPECT_EQ(parse_state("4"), State::Connected);
    EXPECT_EQ(parse_state("9"), State::Absent);
    EXPECT_EQ(parse_state("four"), State::Absent);
    EXPECT_EQ(parse_state(std::nullopt), State::Absent);
}

} // namespace
} // namespace domus::backend
