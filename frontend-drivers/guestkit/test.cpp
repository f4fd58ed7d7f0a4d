// Counting of checks; see test.hpp. Called from one vcpu.
#include "frontend-drivers/guestkit/test.hpp"

namespace domus::guest {
namespace {
unsigned passed, failed;
}

bool check(bool good, const char* name, const char* format, ...) {
    ++(good ? passed : failed);
    if (good) {
        print("PASS %s\n", name);
        return true;
    }
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    format_text(what, sizeof what, format, arguments);
    va_end(arguments);
    print("FAIL %s: %s\n", name, what);
    return false;
}

bool expect(long result, long expected, const char* name) {
    return check(result == expected, name, "returned %ld, expected %ld", result, expected);
}

bool expect_either(long result, long first, long second, const char* name) {
    return check(result == first || result == second, name, "returned %ld, expected %ld or %ld", result, first, second);
}

void finish() {
    print("GUEST DONE %u passed, %u failed\n", passed, failed);
    shut_down(SHUTDOWN_poweroff);
}

} // namespace domus::guest
