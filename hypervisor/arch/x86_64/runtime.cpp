// What the compiler and the standard headers expect of a run-time library. Owner: no state.
#include "hypervisor/core/log.hpp"

extern "C" int __popcountdi2(long value) {
    unsigned count = 0;
    for (auto bits = static_cast<unsigned long>(value); bits != 0; bits &= bits - 1)
        ++count;
    return static_cast<int>(count);
}

extern "C" std::size_t strlen(const char* text) {
    std::size_t n = 0;
    while (text[n])
        ++n;
    return n;
}

extern "C" void __cxa_pure_virtual() {
    domus::hv::panic("a pure virtual function was called");
}

namespace std {
// string_view::substr and friends with a start behind the end: the hypervisor's own mistake.
void __throw_out_of_range_fmt(const char* what, ...) {
    domus::hv::panic("{}", std::string_view(what));
}
} // namespace std

// Hooks that libzstd refers to weakly; an absent one would lie out of a call's reach.
extern "C" unsigned long long ZSTD_trace_decompress_begin(const void*) {
    return 0;
}
extern "C" void ZSTD_trace_decompress_end(unsigned long long, const void*) {}
