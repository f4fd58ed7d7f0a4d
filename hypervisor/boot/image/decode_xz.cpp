// xz payloads, by liblzma's stream decoder (with the x86 filter Linux uses). The dictionary (32 MiB in Debian's
// kernels) comes from the arena.
#include "hypervisor/boot/image/decode.hpp"

#include <lzma.h>

namespace domus::image {
namespace {

constexpr std::size_t state_bytes = 256u << 10; // coder states and alignment beside the dictionary
constexpr u64 probe_output = 16;

void* take(void* arena, std::size_t count, std::size_t size) {
    return static_cast<Arena*>(arena)->take(count, size);
}
void give_back(void*, void*) {}

const char* reason(lzma_ret code) {
    switch (code) {
    case LZMA_MEM_ERROR:
    case LZMA_MEMLIMIT_ERROR:
        return "it needs more scratch memory than was given";
    case LZMA_FORMAT_ERROR:
        return "no xz header";
    case LZMA_OPTIONS_ERROR:
        return "it uses a filter or option that is not supported";
    case LZMA_DATA_ERROR:
        return "data or checksum are wrong";
    default:
        return "it is cut short or larger than it claims";
    }
}

// A stream decoder over the arena. liblzma gives nothing back until the arena goes, so lzma_end has nothing to do.
class Decoder {
public:
    Decoder(Bytes packed, std::span<u8> out, Arena& arena) : allocator_{take, give_back, &arena} {
        stream_.allocator = &allocator_;
        stream_.next_in = packed.data();
        stream_.avail_in = packed.size();
        stream_.next_out = out.data();
        stream_.avail_out = out.size();
    }
    Decoder(const Decoder&) = delete;
    ~Decoder() { lzma_end(&stream_); }

    lzma_ret run(u64 memory_limit) {
        const lzma_ret code = lzma_stream_decoder(&stream_, memory_limit, 0);
        return code == LZMA_OK ? lzma_code(&stream_, LZMA_FINISH) : code;
    }
    u64 memory_needed() const { return lzma_memusage(&stream_); }
    std::size_t left() const { return stream_.avail_out; }

private:
    lzma_allocator allocator_;
    lzma_stream stream_ = LZMA_STREAM_INIT;
};

} // namespace

// With a limit of one byte the decoder reads the block header, stops at the limit and tells what it would take.
Expected<std::size_t> xz_scratch(Bytes packed) {
    alignas(Arena::alignment) u8 small[8192];
    u8 ignored[probe_output];
    Arena arena(small);
    Decoder decoder(packed, ignored, arena);
    const lzma_ret code = decoder.run(1);
    if (code != LZMA_MEMLIMIT_ERROR)
        return fail("xz payload is damaged: ", reason(code));
    return static_cast<std::size_t>(decoder.memory_needed() + state_bytes);
}

Expected<std::size_t> decode_xz(Bytes packed, std::span<u8> out, Arena& arena) {
    Decoder decoder(packed, out, arena);
    const lzma_ret code = decoder.run(max_scratch_size);
    const auto written = out.size() - decoder.left();
    if (code != LZMA_STREAM_END)
        return fail("xz payload is damaged after ", u64{written}, " bytes: ", reason(code));
    return written;
}

} // namespace domus::image
