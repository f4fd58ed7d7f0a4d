// References of a superpage's frames. See superpage.hpp.
//
// ISOLATION, page type and reference confusion (XSA-167 and its kin were counts of superpages as such): each frame is
// counted like any mapped frame, all or nothing, and what was taken is given back in reverse at the first refusal.
#include "hypervisor/pv/superpage.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/pv/mapped_frame.hpp"

namespace domus::hv {

const char* superpage_refusal(u64 value, FrameType level) {
    if (level != FrameType::L2 || (extension_features & DOMUS_FEATURE_superpages) == 0)
        return "a large page, which is not offered here";
    if ((value & (entry::write_through | entry::cache_disable)) != 0)
        return "a superpage is mapped write-back only";
    // Bit 12, the third bit of the cache attribute in such an entry, is one of those that must be zero.
    if (entry::frame(value).n % superpage_frames != 0)
        return "a superpage begins at a multiple of its size";
    return nullptr;
}

// Frames that are not RAM are nobody's.
Result<void> take_superpage(u64 value, const Domain& owner) {
    const Mfn first = entry::frame(value);
    if (first.n + superpage_frames > arch::frame_limit())
        return Err::Inval;
    FrameInfo* infos = &frame_info(first);
    const bool writable = entry::is_writable(value);
    for (u32 i = 0; i < superpage_frames; ++i) {
        if (take_mapped(infos[i], first + i, owner, writable) == Mapped::Yes) [[likely]]
            continue;
        while (i-- > 0)
            drop_mapped(infos[i], first + i, writable);
        return Err::Inval;
    }
    return {};
}

void drop_superpage(u64 value) {
    const Mfn first = entry::frame(value);
    FrameInfo* infos = &frame_info(first);
    const bool writable = entry::is_writable(value);
    for (u32 i = 0; i < superpage_frames; ++i)
        drop_mapped(infos[i], first + i, writable);
}

void drop_superpage_writing(u64 value) {
    const Mfn first = entry::frame(value);
    FrameInfo* infos = &frame_info(first);
    for (u32 i = 0; i < superpage_frames; ++i)
        drop_writing(infos[i], first + i);
}

} // namespace domus::hv
