// The four decoders, one file each. Internal to this folder; called by unpack.cpp only.
// `packed` is the compressed stream alone; `out` has exactly the size the payload claims: anything longer or shorter
// than that is an error.
#pragma once

#include "hypervisor/boot/image/arena.hpp"
#include "hypervisor/boot/image/image.hpp"

namespace domus::image {

// Scratch sizes in bytes, including room for alignment.
Expected<std::size_t> xz_scratch(Bytes packed);
Expected<std::size_t> zstd_scratch(Bytes packed);
Expected<std::size_t> gzip_scratch(Bytes packed);

// Bytes written, or why not.
Expected<std::size_t> decode_xz(Bytes packed, std::span<u8> out, Arena& arena);
Expected<std::size_t> decode_zstd(Bytes packed, std::span<u8> out, Arena& arena);
Expected<std::size_t> decode_gzip(Bytes packed, std::span<u8> out, Arena& arena);
Expected<std::size_t> decode_lz4(Bytes packed, std::span<u8> out);

} // namespace domus::image
