// The machine's console. Implemented by arch/x86_64 (16550) and by tests/fake.
#pragma once

#include <string_view>

namespace domus::hv::arch {

void console_write(std::string_view bytes); // raw; adds a carriage return before each newline

} // namespace domus::hv::arch
