// Frames that are not RAM: devices, firmware tables, holes. Owner: this file; written at start-up only, read without a
// lock afterwards. ISOLATION, I/O mappings: only privileged domains map them, and the machine's own interrupt
// controllers nobody does.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/log.hpp"

#include <array>

namespace domus::hv {
namespace {

struct Forbidden {
    u64 start = 0, end = 0;
};
constinit std::array<Forbidden, 16> forbidden{};
constinit usize forbidden_count = 0;

// What the CPU addresses; an entry beyond it would fault with reserved bits set.
constinit u64 possible_frames = u64{1} << (36 - page_shift);

} // namespace

void declare_device_frames(Mfn start, Mfn end) {
    const u64 stop = end.n < arch::frame_limit() ? end.n : arch::frame_limit();
    for (u64 at = start.n; at < stop; ++at)
        frame_info(Mfn(at)).type.store(TypeWord{}.with(TypeWord::Device).raw, std::memory_order_relaxed);
}

void set_physical_address_bits(u32 bits) {
    possible_frames = u64{1} << (bits - page_shift);
}

void forbid_device_frames(Mfn start, Mfn end) {
    if (forbidden_count == forbidden.size())
        return log(Level::Error, "more than {} forbidden device ranges: {x} stays mappable", forbidden.size(), start.n);
    forbidden[forbidden_count++] = {start.n, end.n};
}

bool is_device_frame(Mfn mfn) {
    if (mfn.n >= possible_frames || find_frame(mfn))
        return false;
    for (usize i = 0; i < forbidden_count; ++i) {
        if (mfn.n >= forbidden[i].start && mfn.n < forbidden[i].end)
            return false;
    }
    return true;
}

} // namespace domus::hv
