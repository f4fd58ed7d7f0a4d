// Payload location and recognition; see payload.hpp. Pure functions over a hostile file.
#include "hypervisor/boot/image/payload.hpp"

#include "hypervisor/boot/image/view.hpp"

namespace domus::image {
namespace {

// Offsets in the setup header (boot.rst, "The Real-Mode Kernel Header").
constexpr u64 at_setup_sects = 0x1f1, at_boot_flag = 0x1fe, at_magic = 0x202, at_version = 0x206;
constexpr u64 at_payload_offset = 0x248, at_payload_length = 0x24c;
constexpr u16 boot_flag = 0xaa55;
constexpr u32 header_magic = 0x53726448; // "HdrS"

constexpr u64 max_file_size = u64{1} << 30;

struct Magic {
    u8 length;
    u8 bytes[6];
    Format format;
};

constexpr Magic magics[] = {
    {4, {0x7f, 'E', 'L', 'F'}, Format::Elf},     {6, {0xfd, '7', 'z', 'X', 'Z', 0}, Format::Xz},
    {4, {0x28, 0xb5, 0x2f, 0xfd}, Format::Zstd}, {4, {0x02, 0x21, 0x4c, 0x18}, Format::Lz4},
    {3, {0x1f, 0x8b, 0x08}, Format::Gzip},
};

const Magic* recognize(Bytes stream) {
    for (const auto& magic : magics)
        if (stream.size() >= magic.length && __builtin_memcmp(stream.data(), magic.bytes, magic.length) == 0)
            return &magic;
    return nullptr;
}

bool is_bzimage(Bytes file) {
    return holds<u32>(file, at_payload_length) && load<u16>(file, at_boot_flag) == boot_flag &&
           load<u32>(file, at_magic) == header_magic;
}

// The size an unpacker needs stands in the payload's last four bytes: gzip's own ISIZE, and for the others what
// Linux' build appends (scripts/Makefile.lib, size_append).
Expected<Payload> with_trailing_size(Payload payload) {
    if (payload.stream.size() < 8)
        return fail("kernel payload at offset ", Hex{payload.offset}, " has only ", u64{payload.stream.size()},
                    " bytes: the file is damaged");
    payload.unpacked_size = load<u32>(payload.stream, payload.stream.size() - 4);
    if (payload.unpacked_size == 0 || payload.unpacked_size > max_unpacked_size)
        return fail("kernel payload claims to unpack to ", payload.unpacked_size, " bytes (size field at offset ",
                    Hex{payload.offset + payload.stream.size() - 4}, "): the file is damaged");
    if (payload.format != Format::Gzip)
        payload.stream = payload.stream.first(payload.stream.size() - 4);
    return payload;
}

Expected<Payload> inside_bzimage(Bytes file) {
    const u16 version = load<u16>(file, at_version);
    if (version < 0x208)
        return fail("bzImage with boot protocol ", Hex{version}, " at offset 0x206: 0x208 or newer is needed");
    u64 setup_sectors = load<u8>(file, at_setup_sects);
    if (setup_sectors == 0)
        setup_sectors = 4;
    const u64 offset = load<u32>(file, at_payload_offset) + (setup_sectors + 1) * 512;
    const u64 length = load<u32>(file, at_payload_length);
    if (!fits(offset, length, file.size()))
        return fail("bzImage is cut short: payload at offset ", Hex{offset}, " with ", length,
                    " bytes does not fit in a file of ", u64{file.size()}, " bytes; copy the kernel again");
    Payload payload{Format::Elf, file.subspan(offset, length), length, offset};
    const Magic* magic = recognize(payload.stream);
    if (!magic)
        return fail("bzImage payload at offset ", Hex{offset},
                    " is in no known format: xz, zstd, lz4, gzip and ELF are supported");
    payload.format = magic->format;
    if (payload.format == Format::Elf)
        return payload;
    return with_trailing_size(payload);
}

} // namespace

Expected<Payload> find_payload(Bytes file) {
    if (file.size() > max_file_size)
        return fail("file of ", u64{file.size() >> 20}, " MiB is too large for a kernel");
    if (is_bzimage(file))
        return inside_bzimage(file);
    const Magic* magic = recognize(file);
    if (magic && magic->format == Format::Elf)
        return Payload{Format::Elf, file, file.size(), 0};
    if (magic && magic->format == Format::Gzip)
        return with_trailing_size({Format::Gzip, file, 0, 0});
    if (magic)
        return fail("compressed file without a bzImage header at offset 0x202: only gzip tells its unpacked size; "
                    "unpack it or use the bzImage");
    return fail("not a kernel: neither a bzImage (no HdrS at offset 0x202) nor an ELF file; file has ",
                u64{file.size()}, " bytes");
}

} // namespace domus::image
