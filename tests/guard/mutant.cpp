// A broken variant of the hypervisor (mutate.py), which the guard must find within so many steps: else the guard is the
// one that is broken. Run: PROGRAM STEPS
#include "tests/guard/runs.hpp"

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    using namespace domus::guard;
    constexpr domus::u64 steps_per_run = 4000;
    const domus::u64 most = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 100000;
    domus::u64 done = 0;
    for (domus::u64 seed = 1; done < most; ++seed) {
        const Outcome outcome = run_apart(random_steps(seed, steps_per_run));
        done += outcome.steps;
        if (!outcome.sound) {
            std::printf("found after %llu steps: %s\n", static_cast<unsigned long long>(done), outcome.why.c_str());
            return 0;
        }
    }
    std::printf("not found in %llu steps\n", static_cast<unsigned long long>(done));
    return 1;
}
