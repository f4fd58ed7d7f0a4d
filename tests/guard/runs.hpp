// Runs of the guard in a process of their own, so that each starts from the same machine whatever the one before broke;
// and making a failing run short.
#pragma once

#include "tests/guard/step.hpp"

#include <string>

namespace domus::guard {

struct Outcome {
    bool sound = true;
    u64 steps = 0;   // done, the broken one included
    std::string why; // the first broken rules, or how the process died
};

Outcome run_apart(const Steps&, bool remembers = false);

// Delta debugging: ever smaller parts are left out as long as it still fails. At most `most_runs` runs.
Steps shrink(Steps failing, u32 most_runs = 3000);

} // namespace domus::guard
