// Takes the place of library members that decoding a kernel never needs, so that they are not linked:
// 80 KB of libzstd's decoders for its formats of before 2016, and liblzma's CRC64, whose constructor nobody would run.
// Freestanding only; named before the libraries on the link line. See libc_shim.cpp for the rest.
#include "hypervisor/base/types.hpp"

using domus::u64;
using domus::u8;
using domus::usize;

namespace {

constexpr usize zstd_version_unsupported = usize(0) - 12; // ZSTD_error_version_unsupported, as libzstd returns errors

// CRC64 as xz defines it: ECMA-182's polynomial, bits reflected.
constexpr u64 polynomial = 0xc96c5795d7870f42;

struct Nibbles {
    u64 of[16] = {};
    constexpr Nibbles() {
        for (unsigned n = 0; n < 16; ++n) {
            u64 crc = n;
            for (int bit = 0; bit < 4; ++bit)
                crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
            of[n] = crc;
        }
    }
};
constexpr Nibbles nibbles;

} // namespace

extern "C" {

u64 lzma_crc64(const u8* bytes, usize count, u64 crc) {
    crc = ~crc;
    for (; count > 0; --count) {
        crc ^= *bytes++;
        crc = crc >> 4 ^ nibbles.of[crc & 15];
        crc = crc >> 4 ^ nibbles.of[crc & 15];
    }
    return ~crc;
}

// One refusal per old format. Contexts cannot be made, so nothing else of them is ever called.
#define OLD_FORMAT(v)                                                                                                  \
    void* ZBUFFv##v##_createDCtx() {                                                                                   \
        return nullptr;                                                                                                \
    }                                                                                                                  \
    usize ZBUFFv##v##_freeDCtx(void*) {                                                                                \
        return 0;                                                                                                      \
    }                                                                                                                  \
    usize ZBUFFv##v##_decompressContinue() {                                                                           \
        return zstd_version_unsupported;                                                                               \
    }                                                                                                                  \
    usize ZBUFFv##v##_decompressInitDictionary() {                                                                     \
        return zstd_version_unsupported;                                                                               \
    }                                                                                                                  \
    void* ZSTDv##v##_createDCtx() {                                                                                    \
        return nullptr;                                                                                                \
    }                                                                                                                  \
    usize ZSTDv##v##_freeDCtx(void*) {                                                                                 \
        return 0;                                                                                                      \
    }                                                                                                                  \
    usize ZSTDv##v##_getFrameParams() {                                                                                \
        return zstd_version_unsupported;                                                                               \
    }                                                                                                                  \
    usize ZSTDv##v##_decompress_usingDict() {                                                                          \
        return zstd_version_unsupported;                                                                               \
    }                                                                                                                  \
    void ZSTDv##v##_findFrameSizeInfoLegacy(const void*, usize, usize* size, unsigned long long* bound) {              \
        *size = zstd_version_unsupported;                                                                              \
        *bound = ~0ull - 1;                                                                                            \
    }
OLD_FORMAT(05)
OLD_FORMAT(06)
OLD_FORMAT(07)

} // extern "C"
