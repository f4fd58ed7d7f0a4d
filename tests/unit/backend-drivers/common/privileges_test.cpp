// What a process may still do after it has given up its rights, looked at from its own /proc.
#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "backend-drivers/common/privileges.hpp"

namespace domus::backend {
namespace {

std::string status(const std::string& name) {
    std::ifstream in("/proc/self/status");
    std::string key, value;
    while (in >> key) {
        std::getline(in >> std::ws, value);
        if (key == name + ":") {
            return value;
        }
    }
    return {};
}

TEST(Privileges, NothingIsLeftAndNothingComesBack) {
    EXPECT_EXIT(
        {
            keep_only({});
            const bool none = status("CapEff") == "0000000000000000" && status("CapPrm") == "0000000000000000";
            std::_Exit(none && status("NoNewPrivs") == "1" ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
}

} // namespace
} // namespace domus::backend
