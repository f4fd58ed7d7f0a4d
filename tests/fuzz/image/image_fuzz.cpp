// libFuzzer target: any bytes as a kernel file. Whatever is accepted must lie inside what was given.
// Run: image_fuzz -max_len=65536 -max_total_time=60 CORPUS
#include "hypervisor/base/checked.hpp"
#include "hypervisor/boot/image/image.hpp"

#include <cstdlib>
#include <vector>

using namespace domus;
using namespace domus::image;

namespace {

constexpr std::size_t room = 1u << 20; // larger claims are cut here: the decoders must cope with that too

void check(Bytes elf) {
    const auto kernel = parse_elf(elf);
    if (!kernel)
        return;
    for (const auto& segment : kernel->loaded())
        if (!fits(segment.file_offset, segment.file_size, elf.size()) || segment.file_size > segment.mem_size)
            std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes file(data, size);
    check(file);
    const auto unpacked = unpacked_size(file);
    const auto scratch_bytes = scratch_size(file);
    if (!unpacked || !scratch_bytes || *unpacked > room)
        return 0;
    std::vector<u8> out(*unpacked), scratch(std::min(*scratch_bytes, room));
    const auto elf = unpack(file, out, scratch);
    if (elf)
        check(*elf);
    return 0;
}
