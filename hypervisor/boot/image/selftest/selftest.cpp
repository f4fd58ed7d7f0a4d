// Decodes the kernel on standard input without a C library and writes what it found to standard output: proof that
// domus_image_freestanding links and runs as it does in the hypervisor. Not part of any product.
// Exit status: 0 decoded, 1 refused (message on standard error), 2 out of memory or input.
#include "hypervisor/boot/image/image.hpp"

using namespace domus;
using namespace domus::image;

namespace {

constexpr long sys_read = 0, sys_write = 1, sys_mmap = 9, sys_arch_prctl = 158, sys_exit = 60;
constexpr u64 input_room = u64{128} << 20;

long system_call(long number, u64 a, u64 b = 0, u64 c = 0, u64 d = 0, u64 e = 0, u64 f = 0) {
    long result = number;
    register u64 r10 asm("r10") = d;
    register u64 r8 asm("r8") = e;
    register u64 r9 asm("r9") = f;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

[[noreturn]] void leave(int status) {
    for (;;)
        system_call(sys_exit, status);
}

std::span<u8> memory(u64 size) {
    const long at = system_call(sys_mmap, 0, size + 1, 3 /* read, write */, 0x22 /* private, anonymous */, ~u64{0}, 0);
    if (at < 0)
        leave(2);
    return {reinterpret_cast<u8*>(at), size};
}

Bytes standard_input() {
    const auto room = memory(input_room);
    u64 used = 0;
    for (;;) {
        const long got = system_call(sys_read, 0, reinterpret_cast<u64>(room.data() + used), room.size() - used);
        if (got < 0)
            leave(2);
        if (got == 0)
            return room.first(used);
        used += static_cast<u64>(got);
    }
}

void say(int to, const char* text) {
    u64 length = 0;
    while (text[length] != 0)
        ++length;
    system_call(sys_write, to, reinterpret_cast<u64>(text), length);
}

template <class T>
T must(Expected<T> value) {
    if (value)
        return value.value();
    say(2, value.error().message);
    say(2, "\n");
    leave(1);
}

} // namespace

extern "C" [[noreturn, gnu::used]] void run() {
    static u64 canary_page[8]; // %fs:0x28, as the hypervisor does
    system_call(sys_arch_prctl, 0x1002 /* ARCH_SET_FS */, reinterpret_cast<u64>(canary_page));
    const auto file = standard_input();
    const auto out = memory(must(unpacked_size(file)));
    const auto scratch = memory(must(scratch_size(file)));
    const auto elf = must(unpack(file, out, scratch));
    const auto kernel = must(parse_elf(elf));
    const auto line =
        fail("unpacked ", u64{elf.size()}, " scratch ", u64{scratch.size()}, " entry ", Hex{kernel.entry}, " base ",
             Hex{kernel.virt_base}, " segments ", u64{kernel.segment_count}, " ", kernel.guest_os.text, "\n");
    say(1, line.message);
    leave(0);
}

asm(".globl _start\n_start: xor %ebp, %ebp\nand $-16, %rsp\ncall run\n");
