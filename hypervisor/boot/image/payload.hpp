// Finds the kernel inside a file: Linux' bzImage wrapper (boot protocol 2.08 and later) or none.
// Internal to this folder. Source: Linux, Documentation/x86/boot.rst (setup header, payload_offset, payload_length).
#pragma once

#include "hypervisor/boot/image/image.hpp"

namespace domus::image {

enum class Format : u8 { Elf, Xz, Zstd, Lz4, Gzip };

struct Payload {
    Format format = Format::Elf;
    Bytes stream;          // without the four bytes of size at the end of a bzImage's payload
    u64 unpacked_size = 0; // as claimed; at most max_unpacked_size
    u64 offset = 0;        // of the stream in the file, for messages
};

Expected<Payload> find_payload(Bytes file);

} // namespace domus::image
