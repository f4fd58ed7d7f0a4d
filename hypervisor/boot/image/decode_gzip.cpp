// gzip payloads, by zlib. Freestanding zlib needs nothing but memcpy, memset and the arena handed to it.
#include "hypervisor/boot/image/decode.hpp"

#define Z_SOLO 1 // no FILE, no default allocator
#include <zlib.h>

namespace domus::image {
namespace {

constexpr int gzip_window_bits = 31;           // 15, plus 16 to ask for the gzip wrapper
constexpr std::size_t state_bytes = 64u << 10; // inflate's state (about 8 KiB) and window (32 KiB)

void* take(void* arena, unsigned count, unsigned size) {
    return static_cast<Arena*>(arena)->take(count, size);
}
void give_back(void*, void*) {}

} // namespace

Expected<std::size_t> gzip_scratch(Bytes) {
    return std::size_t{state_bytes};
}

Expected<std::size_t> decode_gzip(Bytes packed, std::span<u8> out, Arena& arena) {
    z_stream stream{};
    stream.zalloc = take;
    stream.zfree = give_back;
    stream.opaque = &arena;
    stream.next_in = const_cast<u8*>(packed.data());        // zlib without ZLIB_CONST; it does not write there
    stream.avail_in = static_cast<unsigned>(packed.size()); // files over 4 GiB have been refused
    stream.next_out = out.data();
    stream.avail_out = static_cast<unsigned>(out.size());
    if (inflateInit2(&stream, gzip_window_bits) != Z_OK)
        return fail("gzip payload needs ", u64{state_bytes}, " bytes of scratch memory, which were not given");
    const int code = inflate(&stream, Z_FINISH);
    const auto written = out.size() - stream.avail_out;
    const char* why = stream.msg ? stream.msg : "it is cut short or larger than it claims";
    inflateEnd(&stream);
    if (code != Z_STREAM_END)
        return fail("gzip payload is damaged after ", u64{written}, " bytes: ", why);
    return std::size_t{written};
}

} // namespace domus::image
