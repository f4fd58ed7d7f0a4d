// kill -9 for real: the daemon runs in a child process that is killed at random moments while a guest, whose ring is
// in shared memory, counts. Every request must take effect exactly once and be answered exactly once.
#include "daemon_fixture.hpp"

#include <random>

#include <sys/prctl.h>
#include <sys/wait.h>

namespace domus::xenstore::server {

class KillTest : public DaemonTest {
protected:
    void spawn() {
        child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            asio::io_context own(1);
            FakePlatform hypervisor(machine);
            Daemon served(own, options, &hypervisor);
            served.start();
            own.run();
            _exit(0);
        }
    }
    void kill_child() {
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the daemon ended by itself: " << status;
    }

    pid_t child = -1;
};

TEST_F(KillTest, NothingIsLostAndNothingIsDoneTwice) {
    start();
    introduce(1);
    stop();
    FakeGuest guest(machine, 1);
    std::mt19937 random(99);
    // Each request makes a node of its own and reads the one before. Doing one twice would double its reply; losing
    // one would leave a gap in the replies' numbers; doing one late would show in what is read.
    constexpr std::uint32_t total = 3000;
    constexpr std::uint32_t window = 40;
    std::uint32_t sent = 0;
    std::uint32_t answered = 0;
    int kills = 0;
    spawn();
    auto next_kill = std::chrono::steady_clock::now() + std::chrono::milliseconds(5);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(100);
    while (answered < total && std::chrono::steady_clock::now() < give_up && !HasFailure()) {
        while (sent < total && sent < answered + window) {
            const std::string filler(random() % 600, 'f');
            if (sent % 2 == 0) {
                guest.send(
                    {XS_WRITE, sent, 0, nul("data/n" + std::to_string(sent % 10)) + std::to_string(sent) + filler});
            } else {
                guest.send({XS_READ, sent, 0, nul("data/n" + std::to_string((sent - 1) % 10))});
            }
            ++sent;
        }
        if (!guest.pump()) {
            guest.signal(); // a real event channel keeps its pending bit over a restart; a pipe does not
            usleep(50);
        }
        while (const auto message = guest.receive()) {
            ASSERT_EQ(message->req_id, answered);
            if (answered % 2 == 0) {
                EXPECT_EQ(message->payload, nul("OK"));
            } else {
                const std::string expected = std::to_string(answered - 1);
                EXPECT_EQ(message->payload.substr(0, expected.size()), expected);
            }
            ++answered;
        }
        if (std::chrono::steady_clock::now() > next_kill) {
            kill_child();
            ++kills;
            spawn();
            next_kill = std::chrono::steady_clock::now() + std::chrono::microseconds(8000 + random() % 20000);
        }
    }
    kill_child();
    EXPECT_EQ(answered, total);
    EXPECT_GT(kills, 5);
    RecordProperty("kills", kills);
}

} // namespace domus::xenstore::server
