// References of a superpage's frames. See superpage.hpp.
//
// ISOLATION, page type and reference confusion (XSA-167 and its kin were counts of superpages as such): each frame is
// counted like any mapped frame, all or nothing, and what was taken is given back in reverse at the first refusal.
#include "hypervisor/pv/superpage.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/core/extension.hpp"

namespace domus::hv {
namespace {

Result<void> take_one(Mfn mfn, const Domain& owner, bool writable) {
    TRY(get_frame(mfn, owner));
    if (!writable)
        return {};
    if (get_type(mfn, FrameType::Writable)) [[likely]]
        return {};
    put_frame(mfn);
    return Err::Inval;
}

void drop_one(Mfn mfn, bool writable) {
    if (writable)
        put_type(mfn);
    put_frame(mfn);
}

} // namespace

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

Result<void> take_superpage(u64 value, const Domain& owner) {
    const Mfn first = entry::frame(value);
    const bool writable = entry::is_writable(value);
    for (u32 i = 0; i < superpage_frames; ++i) {
        if (take_one(Mfn(first.n + i), owner, writable)) [[likely]]
            continue;
        while (i-- > 0)
            drop_one(Mfn(first.n + i), writable);
        return Err::Inval;
    }
    return {};
}

void drop_superpage(u64 value) {
    const Mfn first = entry::frame(value);
    const bool writable = entry::is_writable(value);
    for (u32 i = 0; i < superpage_frames; ++i)
        drop_one(Mfn(first.n + i), writable);
}

void drop_superpage_writing(u64 value) {
    for (u32 i = 0; i < superpage_frames; ++i)
        put_type(Mfn(entry::frame(value).n + i));
}

} // namespace domus::hv
