// Sample kernels; see sample.hpp.
#include "tests/unit/hypervisor/boot/image/sample.hpp"

#include "hypervisor/base/checked.hpp"

#include <lz4.h>
#include <lzma.h>
#include <xen/elfnote.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <stdexcept>

namespace domus::image::test {
namespace {

template <class T>
void append(Buffer& to, const T& value) {
    const auto* bytes = reinterpret_cast<const u8*>(&value);
    to.insert(to.end(), bytes, bytes + sizeof value);
}

void append_padded(Buffer& to, const void* data, std::size_t size) {
    const auto* bytes = static_cast<const u8*>(data);
    to.insert(to.end(), bytes, bytes + size);
    to.resize((to.size() + 3) / 4 * 4);
}

Buffer encode(const std::vector<Note>& notes) {
    Buffer out;
    for (const auto& note : notes) {
        append(out,
               Elf64_Nhdr{static_cast<u32>(note.owner.size() + 1), static_cast<u32>(note.value.size()), note.type});
        append_padded(out, note.owner.c_str(), note.owner.size() + 1);
        append_padded(out, note.value.data(), note.value.size());
    }
    return out;
}

void need(bool good, const char* what) {
    if (!good)
        throw std::runtime_error(what);
}

} // namespace

Note number_note(u32 type, u64 value) {
    Note note{type};
    append(note.value, value);
    return note;
}

Note text_note(u32 type, const std::string& text) {
    return {type, Buffer(text.c_str(), text.c_str() + text.size() + 1)};
}

Sample::Sample() : header{}, body(0x3000) {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_phoff = sizeof header;
    segments.push_back({PT_LOAD, PF_R | PF_X, text_offset, base + load, load, body.size(), body.size(), 4096});
    segments.push_back({PT_LOAD, PF_R | PF_W, text_offset, 0, load + 0x4000, 0, 0x2000, 4096});
    notes = {number_note(XEN_ELFNOTE_ENTRY, base + load + 0x10), number_note(XEN_ELFNOTE_VIRT_BASE, base),
             number_note(XEN_ELFNOTE_HYPERCALL_PAGE, base + load + 0x1000), text_note(XEN_ELFNOTE_GUEST_OS, "sample")};
    for (std::size_t i = 0; i < body.size(); ++i)
        body[i] = static_cast<u8>(i * i >> 7 ^ i);
}

void Sample::drop_note(u32 type) {
    std::erase_if(notes, [&](const Note& note) { return note.type == type; });
}

void Sample::set_note(Note note) {
    drop_note(note.type);
    notes.push_back(std::move(note));
}

Buffer Sample::make() const {
    Buffer file(text_offset);
    file.insert(file.end(), body.begin(), body.end());
    const u64 notes_at = file.size();
    const auto encoded = encode(notes);
    file.insert(file.end(), encoded.begin(), encoded.end());
    auto headers = segments;
    auto top = header;
    if (notes_in_section) {
        file.resize((file.size() + 7) / 8 * 8);
        top.e_shoff = file.size();
        top.e_shnum = 1;
        append(file, Elf64_Shdr{0, SHT_NOTE, 0, 0, notes_at, encoded.size()});
    } else {
        headers.push_back({PT_NOTE, PF_R, notes_at, 0, 0, encoded.size(), encoded.size(), 4});
    }
    if (top.e_phnum == 0)
        top.e_phnum = static_cast<u16>(headers.size());
    std::memcpy(file.data(), &top, sizeof top);
    if (fits(top.e_phoff, headers.size() * sizeof(Elf64_Phdr), text_offset))
        std::memcpy(file.data() + top.e_phoff, headers.data(), headers.size() * sizeof(Elf64_Phdr));
    return file;
}

Buffer pack_xz(Bytes data, int check) {
    Buffer out(lzma_stream_buffer_bound(data.size()));
    std::size_t used = 0;
    need(lzma_easy_buffer_encode(1, static_cast<lzma_check>(check), nullptr, data.data(), data.size(), out.data(),
                                 &used, out.size()) == LZMA_OK,
         "xz");
    out.resize(used);
    return out;
}

Buffer pack_zstd(Bytes data) {
    Buffer out(ZSTD_compressBound(data.size()));
    const auto used = ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 3);
    need(!ZSTD_isError(used), "zstd");
    out.resize(used);
    return out;
}

Buffer pack_gzip(Bytes data) {
    z_stream stream{};
    need(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK, "gzip");
    Buffer out(deflateBound(&stream, data.size()) + 64);
    stream.next_in = const_cast<u8*>(data.data());
    stream.avail_in = static_cast<unsigned>(data.size());
    stream.next_out = out.data();
    stream.avail_out = static_cast<unsigned>(out.size());
    need(deflate(&stream, Z_FINISH) == Z_STREAM_END, "gzip");
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

Buffer pack_lz4_legacy(Bytes data) {
    Buffer out;
    append(out, u32{0x184c2102});
    for (std::size_t at = 0; at < data.size(); at += 8u << 20) {
        const auto part = data.subspan(at, std::min<std::size_t>(8u << 20, data.size() - at));
        Buffer block(LZ4_compressBound(static_cast<int>(part.size())));
        const int used =
            LZ4_compress_default(reinterpret_cast<const char*>(part.data()), reinterpret_cast<char*>(block.data()),
                                 static_cast<int>(part.size()), static_cast<int>(block.size()));
        need(used > 0, "lz4");
        append(out, u32(used));
        out.insert(out.end(), block.begin(), block.begin() + used);
    }
    return out;
}

Buffer bzimage(Buffer payload, std::optional<u32> size, u16 version) {
    if (size)
        append(payload, *size);
    constexpr u32 sectors = 3, gap = 0x40;
    Buffer file((sectors + 1) * 512 + gap);
    const auto put = [&](u64 at, auto value) { std::memcpy(file.data() + at, &value, sizeof value); };
    put(0x1f1, u8{sectors});
    put(0x1fe, u16{0xaa55});
    put(0x202, u32{0x53726448});
    put(0x206, version);
    put(0x248, gap);
    put(0x24c, static_cast<u32>(payload.size()));
    file.insert(file.end(), payload.begin(), payload.end());
    file.insert(file.end(), 100, u8{0xee});
    return file;
}

} // namespace domus::image::test
