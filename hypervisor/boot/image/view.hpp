// Reads of little-endian numbers and structs out of a hostile file, always by copy. Header-only, freestanding.
// Callers check the range with fits() first; load() is the one place that turns bytes into a type.
#pragma once

#include "hypervisor/base/checked.hpp"
#include "hypervisor/boot/image/image.hpp"

namespace domus::image {

// Is [offset, offset + sizeof(T)) inside `file`?
template <class T>
constexpr bool holds(Bytes file, u64 offset) {
    return fits(offset, sizeof(T), file.size());
}

// A copy of the T at `offset`; the caller has asked holds<T>(). The file may be unaligned in memory.
template <class T>
T load(Bytes file, u64 offset) {
    T value;
    __builtin_memcpy(&value, file.data() + offset, sizeof value);
    return value;
}

} // namespace domus::image
