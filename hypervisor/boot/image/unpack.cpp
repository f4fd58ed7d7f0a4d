// unpacked_size, scratch_size and unpack: composes payload.cpp with the decoders. See image.hpp.
#include "hypervisor/boot/image/decode.hpp"
#include "hypervisor/boot/image/payload.hpp"

namespace domus::image {
namespace {

Expected<std::size_t> decode(const Payload& payload, std::span<u8> out, Arena& arena) {
    switch (payload.format) {
    case Format::Xz:
        return decode_xz(payload.stream, out, arena);
    case Format::Zstd:
        return decode_zstd(payload.stream, out, arena);
    case Format::Lz4:
        return decode_lz4(payload.stream, out);
    case Format::Gzip:
        return decode_gzip(payload.stream, out, arena);
    case Format::Elf:
        break;
    }
    return fail("internal: a plain ELF file is not decoded");
}

} // namespace

Expected<std::size_t> unpacked_size(Bytes file) {
    const auto payload = TRY(find_payload(file));
    return std::size_t{payload.unpacked_size};
}

Expected<std::size_t> scratch_size(Bytes file) {
    const auto payload = TRY(find_payload(file));
    std::size_t need = 0;
    if (payload.format == Format::Xz)
        need = TRY(xz_scratch(payload.stream));
    else if (payload.format == Format::Zstd)
        need = TRY(zstd_scratch(payload.stream));
    else if (payload.format == Format::Gzip)
        need = TRY(gzip_scratch(payload.stream));
    if (need > max_scratch_size)
        return fail("kernel payload at offset ", Hex{payload.offset}, " needs ", u64{need >> 20},
                    " MiB to unpack, more than ", max_scratch_size >> 20, ": pack it with a smaller dictionary");
    return need;
}

Expected<Bytes> unpack(Bytes file, std::span<u8> out, std::span<u8> scratch) {
    const auto payload = TRY(find_payload(file));
    if (payload.format == Format::Elf)
        return payload.stream;
    if (out.size() < payload.unpacked_size)
        return fail("kernel unpacks to ", payload.unpacked_size, " bytes, but there is room for ", u64{out.size()});
    out = out.first(payload.unpacked_size);
    Arena arena(scratch);
    const auto written = TRY(decode(payload, out, arena));
    if (written != out.size())
        return fail("kernel payload at offset ", Hex{payload.offset}, " unpacks to ", u64{written},
                    " bytes, but claims ", payload.unpacked_size, ": the file is damaged");
    return Bytes(out);
}

} // namespace domus::image
