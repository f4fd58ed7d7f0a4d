// The guard at length: runs of 20 000 steps from seeds that follow each other, until so many steps are done. The first
// run that breaks something is made short and written to a file, for tests/guard/seeds.
//
//     guard_long STEPS [FIRST_SEED [FAILURE_FILE]]    exit status 0: nothing was broken
//     guard_long --replay FILE                        run a file's steps, say what breaks
#include "tests/guard/runs.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>

namespace domus::guard {
namespace {

constexpr u64 steps_per_run = 20000;

int replay(const char* file) {
    std::ifstream in(file);
    if (!in) {
        std::fprintf(stderr, "guard: cannot read %s\n", file);
        return 2;
    }
    const Outcome outcome = run_apart(read_steps(in), true);
    std::printf("guard: %s after %llu steps %s\n", outcome.sound ? "sound" : "BROKEN",
                static_cast<unsigned long long>(outcome.steps), outcome.why.c_str());
    return outcome.sound ? 0 : 1;
}

int broken(u64 seed, const Outcome& outcome, const char* file) {
    std::printf("guard: seed %llu breaks at step %llu: %s\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(outcome.steps), outcome.why.c_str());
    std::fflush(stdout);
    const Steps few = shrink(random_steps(seed, steps_per_run));
    const Outcome again = run_apart(few);
    std::ofstream out(file);
    out << "# " << again.why << "\n# from seed " << seed << "\n";
    write_steps(out, few);
    std::printf("guard: %zu steps are enough, in %s: %s\n", few.size(), file, again.why.c_str());
    return 1;
}

int run(u64 steps, u64 seed, const char* file) {
    const auto start = std::chrono::steady_clock::now();
    for (u64 done = 0; done < steps; done += steps_per_run, ++seed) {
        const Outcome outcome = run_apart(random_steps(seed, steps_per_run));
        if (!outcome.sound)
            return broken(seed, outcome, file);
        if (done / steps_per_run % 50 == 49 || done + steps_per_run >= steps)
            std::printf("guard: %llu steps, seeds up to %llu, %.0f s\n",
                        static_cast<unsigned long long>(done + steps_per_run), static_cast<unsigned long long>(seed),
                        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        std::fflush(stdout);
    }
    return 0;
}

} // namespace
} // namespace domus::guard

int main(int argc, char** argv) {
    using namespace domus::guard;
    if (argc == 3 && std::string_view(argv[1]) == "--replay")
        return replay(argv[2]);
    if (argc < 2) {
        std::fprintf(stderr, "usage: guard_long STEPS [FIRST_SEED [FAILURE_FILE]]\n       guard_long --replay FILE\n");
        return 2;
    }
    return run(std::strtoull(argv[1], nullptr, 0), argc > 2 ? std::strtoull(argv[2], nullptr, 0) : 1,
               argc > 3 ? argv[3] : "guard-failure.steps");
}
