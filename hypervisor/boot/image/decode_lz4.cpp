// LZ4 legacy frames, as Linux packs its kernel with `lz4 -l`: a magic number, then blocks of up to 8 MiB unpacked,
// each with its packed length before it. Source: LZ4 frame and block format descriptions (public domain).
// Own code because liblz4's decoder cannot be linked without 54 KB of compressor; compared with it in the unit test.
#include "hypervisor/boot/image/decode.hpp"
#include "hypervisor/boot/image/view.hpp"

namespace domus::image {
namespace {

constexpr u32 legacy_magic = 0x184c2102;
constexpr u64 block_size = u64{8} << 20;
constexpr u64 min_match = 4;

// One block. Every length and offset is checked against what is left of `in` and `out` before it is used.
class Block {
public:
    Block(Bytes in, std::span<u8> out) : in_(in), out_(out) {}

    // Bytes written, or 0 when the block is damaged or does not fit.
    u64 decode() {
        while (at_ < in_.size()) {
            const u8 token = in_[at_++];
            u64 literals = token >> 4;
            if (!extend(literals) || !copy_literals(literals))
                return 0;
            if (at_ == in_.size())
                return written_;
            u64 match = token & 15;
            if (!fits(at_, 2, in_.size()))
                return 0;
            const u64 distance = load<u16>(in_, at_);
            at_ += 2;
            if (!extend(match) || !copy_match(distance, match + min_match))
                return 0;
        }
        return 0; // a block ends with literals
    }

private:
    // A length of 15 goes on in the following bytes, until one is not 255. Bounded by the input.
    bool extend(u64& length) {
        if (length != 15)
            return true;
        u8 more = 255;
        while (more == 255) {
            if (at_ == in_.size())
                return false;
            more = in_[at_++];
            length += more;
        }
        return true;
    }

    bool copy_literals(u64 length) {
        if (!fits(at_, length, in_.size()) || !fits(written_, length, out_.size()))
            return false;
        __builtin_memcpy(out_.data() + written_, in_.data() + at_, length);
        at_ += length;
        written_ += length;
        return true;
    }

    // The match may overlap with what it writes (that is how runs are packed), so it goes forward, in steps of 8
    // where the distance allows.
    bool copy_match(u64 distance, u64 length) {
        if (distance == 0 || distance > written_ || !fits(written_, length, out_.size()))
            return false;
        u8* to = out_.data() + written_;
        const u8* from = to - distance;
        written_ += length;
        if (distance >= 8) {
            for (; length >= 8; length -= 8, to += 8, from += 8)
                __builtin_memcpy(to, from, 8);
        }
        while (length-- > 0)
            *to++ = *from++;
        return true;
    }

    Bytes in_;
    std::span<u8> out_;
    u64 at_ = 0;
    u64 written_ = 0;
};

} // namespace

Expected<std::size_t> decode_lz4(Bytes packed, std::span<u8> out) {
    u64 at = 4, written = 0;
    while (at < packed.size()) {
        if (!holds<u32>(packed, at))
            return fail("lz4 stream is cut short at offset ", Hex{at}, " of the payload");
        const u32 length = load<u32>(packed, at);
        at += 4;
        if (length == legacy_magic) // frames may follow each other
            continue;
        if (length == 0 || !fits(at, length, packed.size()))
            return fail("lz4 block of ", u64{length}, " bytes at offset ", Hex{at},
                        " of the payload does not fit in it");
        auto room = out.subspan(written);
        if (room.size() > block_size)
            room = room.first(block_size);
        const u64 produced = Block(packed.subspan(at, length), room).decode();
        if (produced == 0)
            return fail("lz4 block at offset ", Hex{at},
                        " of the payload is damaged, or unpacks to more than it claims");
        written += produced;
        at += length;
    }
    return std::size_t{written};
}

} // namespace domus::image
