// See runs.hpp.
#include "tests/guard/runs.hpp"

#include "tests/guard/world.hpp"

#include <csignal>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace domus::guard {
namespace {

std::string run_here(const Steps& steps, bool remembers, u64& done) {
    try {
        World world(remembers);
        bool sound = world.model().broken().empty();
        for (const Step& step : steps) {
            if (!sound)
                break;
            ++done; // a step that never returns counts as well
            sound = world.run(step);
        }
        if (sound)
            world.end();
        std::string all;
        for (usize i = 0; i < world.model().broken().size() && i < 4; ++i)
            all += (i ? "; " : "") + world.model().broken()[i];
        return all;
    } catch (const std::exception& stopped) {
        return stopped.what();
    }
}

void write_whole(int to, const void* bytes, usize size) {
    if (::write(to, bytes, size) != static_cast<ssize_t>(size))
        _exit(3);
}

// A hypervisor that loops is broken, too. Time of this process alone: a busy machine may take as long as it likes.
void limit_processor_time(u64 seconds) {
    const itimerval once{{}, {static_cast<time_t>(seconds), 0}};
    setitimer(ITIMER_PROF, &once, nullptr);
}

} // namespace

Outcome run_apart(const Steps& steps, bool remembers) {
    int ends[2];
    if (pipe(ends) != 0)
        return {false, 0, "no pipe"};
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        limit_processor_time(5 + steps.size() / (remembers ? 100 : 4000));
        u64 done = 0;
        std::string why = run_here(steps, remembers, done);
        why.resize(std::min<usize>(why.size(), 3000));
        write_whole(ends[1], &done, sizeof done);
        write_whole(ends[1], why.data(), why.size());
        _exit(why.empty() ? 0 : 1);
    }
    close(ends[1]);
    Outcome outcome;
    char buffer[4096];
    std::string text;
    for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<usize>(n));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    outcome.sound = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (text.size() >= sizeof outcome.steps) {
        std::memcpy(&outcome.steps, text.data(), sizeof outcome.steps);
        outcome.why = text.substr(sizeof outcome.steps);
    } else {
        outcome.why = "the process died: status " + std::to_string(status);
    }
    return outcome;
}

Steps shrink(Steps failing, u32 most_runs) {
    const Outcome first = run_apart(failing);
    if (first.steps != 0 && first.steps < failing.size())
        failing.resize(first.steps);
    for (usize part = std::max<usize>(failing.size() / 2, 1); part > 0 && most_runs > 0;) {
        bool shorter = false;
        for (usize at = 0; at < failing.size() && most_runs > 0;) {
            Steps fewer = failing;
            const auto from = fewer.begin() + static_cast<std::ptrdiff_t>(at);
            fewer.erase(from, from + static_cast<std::ptrdiff_t>(std::min(part, fewer.size() - at)));
            --most_runs;
            if (const Outcome outcome = run_apart(fewer); !outcome.sound) {
                failing = std::move(fewer);
                shorter = true;
            } else {
                at += part;
            }
        }
        if (!shorter || part > failing.size())
            part = part == 1 ? 0 : part / 2;
    }
    return failing;
}

} // namespace domus::guard
