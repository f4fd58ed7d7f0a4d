// What Debian's static liblzma, libzstd and libz ask of a C library, for use without one. Freestanding only.
// All symbols are weak: a program's own memcpy() and friends win. No state, no lock.
//
// The libraries are only ever called with the caller's arena, so malloc and its kin must never be reached: they fail.
// They are built with stack protection: %fs:0x28 must be readable while they run (any value, unchanged), so the
// hypervisor points FS base at a page of its own for that time. They use SSE2 registers: CR4.OSFXSR must be set and
// nobody's SSE state may be live. They have neither ifuncs nor TLS variables. liblzma's one constructor (a CRC64
// choice) is kept out by decoder_stubs.cpp.
#include <cstddef>

#define WEAK extern "C" __attribute__((weak, visibility("default")))

WEAK void* memcpy(void* to, const void* from, std::size_t count) {
    void* const start = to;
    std::size_t words = count / 8, rest = count % 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
    return start;
}

WEAK void* memmove(void* to, const void* from, std::size_t count) {
    auto* target = static_cast<unsigned char*>(to);
    auto* source = static_cast<const unsigned char*>(from);
    if (target <= source || target >= source + count)
        return memcpy(to, from, count);
    target += count;
    source += count;
    while (count-- > 0)
        *--target = *--source;
    return to;
}

WEAK void* memset(void* to, int value, std::size_t count) {
    void* const start = to;
    const std::size_t eight = static_cast<unsigned char>(value) * 0x0101010101010101u;
    std::size_t words = count / 8, rest = count % 8; // an emulator takes as long for a byte as for eight
    asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(eight) : "memory");
    asm volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(eight) : "memory");
    return start;
}

WEAK int memcmp(const void* left, const void* right, std::size_t count) {
    auto* a = static_cast<const unsigned char*>(left);
    auto* b = static_cast<const unsigned char*>(right);
    for (; count > 0; --count, ++a, ++b)
        if (*a != *b)
            return *a - *b;
    return 0;
}

WEAK void* memchr(const void* where, int value, std::size_t count) {
    auto* at = static_cast<const unsigned char*>(where);
    for (; count > 0; --count, ++at)
        if (*at == static_cast<unsigned char>(value))
            return const_cast<unsigned char*>(at);
    return nullptr;
}

WEAK void* malloc(std::size_t) {
    return nullptr;
}
WEAK void* calloc(std::size_t, std::size_t) {
    return nullptr;
}
WEAK void free(void*) {}

// A decoder ran over its own stack: the file attacked us. An invalid instruction makes the hypervisor panic and name
// this address.
WEAK __attribute__((noreturn)) void __stack_chk_fail() {
    __builtin_trap();
}
