// What a mini guest says about itself: one line per check, and a last line that tests/guests/run.sh looks for.
#pragma once

#include "frontend-drivers/guestkit/print.hpp"
#include "frontend-drivers/guestkit/start.hpp"

namespace domus::guest {

// Prints `PASS name`, or `FAIL name: what`, and counts. Returns `good`.
bool check(bool good, const char* name, const char* format = "no", ...) __attribute__((format(printf, 3, 4)));

// check() that a hypercall returned what was expected.
bool expect(long result, long expected, const char* name);
// one of two results, where the interface leaves a choice
bool expect_either(long result, long first, long second, const char* name);

// Prints `GUEST DONE n passed, m failed` and powers off.
[[noreturn]] void finish();

} // namespace domus::guest
