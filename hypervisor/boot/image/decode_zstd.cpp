// zstd payloads, by libzstd in one pass: no window of its own is kept, matches are read from `out`.
#include "hypervisor/boot/image/decode.hpp"

#define ZSTD_STATIC_LINKING_ONLY // ZSTD_initStaticDCtx: the context in the caller's memory
#include <zstd.h>

namespace domus::image {

Expected<std::size_t> zstd_scratch(Bytes) {
    return std::size_t{ZSTD_estimateDCtxSize() + 2 * Arena::alignment};
}

Expected<std::size_t> decode_zstd(Bytes packed, std::span<u8> out, Arena& arena) {
    const auto space = arena.rest();
    ZSTD_DCtx* context = ZSTD_initStaticDCtx(space.data(), space.size());
    if (!context)
        return fail("zstd payload needs ", u64{ZSTD_estimateDCtxSize()}, " bytes of scratch memory; there are ",
                    u64{space.size()});
    const std::size_t written = ZSTD_decompressDCtx(context, out.data(), out.size(), packed.data(), packed.size());
    if (ZSTD_isError(written))
        return fail("zstd payload is damaged: ", ZSTD_getErrorName(written));
    return written;
}

} // namespace domus::image
