// Makes small kernels for the tests: an ELF64 file with Xen notes, packed in every format, wrapped as a bzImage.
// Test code; hosted, allocates freely.
#pragma once

#include "hypervisor/boot/image/image.hpp"

#include <elf.h>
#include <string>
#include <vector>

namespace domus::image::test {

using Buffer = std::vector<u8>;

struct Note {
    u32 type = 0;
    Buffer value;
    std::string owner = "Xen";
};
Note number_note(u32 type, u64 value);
Note text_note(u32 type, const std::string& text);

// A kernel at 16 MiB in its memory, with one text segment holding `body` and one of zeros; change what a test is
// about, then make().
struct Sample {
    static constexpr u64 base = 0xffffffff80000000, load = u64{16} << 20, text_offset = 0x1000;
    Elf64_Ehdr header;
    std::vector<Elf64_Phdr> segments;
    std::vector<Note> notes;
    Buffer body;
    bool notes_in_section = false; // PT_NOTE left out

    Sample();
    void drop_note(u32 type);
    void set_note(Note note);
    Buffer make() const;
};

Buffer pack_xz(Bytes data, int check);
Buffer pack_zstd(Bytes data);
Buffer pack_gzip(Bytes data);
Buffer pack_lz4_legacy(Bytes data);

// A bzImage around `payload`, after which the unpacked size is put as Linux' build does (not for gzip).
Buffer bzimage(Buffer payload, std::optional<u32> size, u16 version = 0x20f);

} // namespace domus::image::test
