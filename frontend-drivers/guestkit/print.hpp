// Text output of a mini guest: formatting as printf, written to the hypervisor's console and, in a domU, to the PV
// console ring. No locks: lines of two vcpus may mix.
#pragma once

#include <cstdarg>
#include <cstddef>

struct xencons_interface;

namespace domus::guest {

// Knows %d %i %u %x %p %s %.*s %c %%, with l or z, a width and zero fill. Lines over 512 bytes are cut.
void print(const char* format, ...) __attribute__((format(printf, 1, 2)));
void vprint(const char* format, va_list arguments);
xencons_interface* console_ring(); // a domU's
std::size_t format_text(char* out, std::size_t size, const char* format, va_list arguments);

} // namespace domus::guest
