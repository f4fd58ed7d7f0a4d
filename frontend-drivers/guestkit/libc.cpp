// The few functions the compiler itself calls. No state.
#include <cstddef>

extern "C" {

void* memcpy(void* to, const void* from, std::size_t count) {
    void* const start = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    return start;
}

void* memset(void* to, int value, std::size_t count) {
    void* const start = to;
    asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return start;
}

void* memmove(void* to, const void* from, std::size_t count) {
    auto* target = static_cast<volatile char*>(to);
    auto* source = static_cast<const volatile char*>(from);
    if (target <= source)
        return memcpy(to, from, count);
    while (count-- > 0)
        target[count] = source[count];
    return to;
}

int memcmp(const void* left, const void* right, std::size_t count) {
    auto* a = static_cast<const volatile unsigned char*>(left);
    auto* b = static_cast<const volatile unsigned char*>(right);
    for (std::size_t i = 0; i < count; ++i)
        if (const int difference = a[i] - b[i])
            return difference;
    return 0;
}

const void* memchr(const void* where, int value, std::size_t count) {
    auto* at = static_cast<const volatile unsigned char*>(where);
    for (std::size_t i = 0; i < count; ++i)
        if (at[i] == static_cast<unsigned char>(value))
            return static_cast<const unsigned char*>(where) + i;
    return nullptr;
}

std::size_t strlen(const char* text) {
    std::size_t length = 0;
    while (static_cast<const volatile char*>(text)[length] != 0)
        ++length;
    return length;
}

[[noreturn]] void abort() {
    __builtin_trap();
}
[[noreturn]] void __cxa_pure_virtual() {
    __builtin_trap();
}

} // extern "C"
