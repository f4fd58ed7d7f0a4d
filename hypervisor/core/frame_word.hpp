// The type word of a frame: how FrameInfo::type is read. Header-only; pure values, no memory is touched.
//
//   bits  0..31  count of uses as the present type
//   bits 32..35  FrameType
//   bits 36..45  progress: entries [0, progress) of a partly validated table hold references (0..512)
//   flags above: see below
//
// States of a table frame (L1..L4, Segments):
//   count 0                       no use; the type is history, and says which flush a change needs
//   count 0, Locked               a CPU is validating it, or undoing a validation
//   count 0, Partial              validation stopped half-way; the state itself holds one general reference
//   count 0, Partial Undo         the same, but the validation failed and is being taken back
//   count n                       validated, n uses
//   count 1, Locked               its last user is taking it down
//   count 1, Partial Undo         taking down stopped half-way; it still belongs to that last user, who must go on
//   count n, Partial, no Undo     unhooked (pv/unhooked.hpp): out of force, not to be used until it is back
#pragma once

#include "hypervisor/core/frame_table.hpp"

namespace domus::hv {

struct TypeWord {
    u64 raw = 0;

    static constexpr u64 count_mask = 0xffffffff;
    static constexpr u64 type_shift = 32;
    static constexpr u64 progress_shift = 36;
    static constexpr u64 progress_mask = u64{0x3ff} << progress_shift;
    enum Flag : u64 {
        Partial = u64{1} << 48,
        Undo = u64{1} << 49,
        Locked = u64{1} << 50,
        Pinned = u64{1} << 51,
        // Of frames without an owner, and of frames that are not RAM:
        Free = u64{1} << 56,   // first frame of a free block; its order is in `progress`
        Dirty = u64{1} << 57,  // belonged to a domain and was not scrubbed since
        Device = u64{1} << 58, // not RAM: may be mapped by who is allowed to reach devices
    };

    constexpr u32 count() const { return static_cast<u32>(raw & count_mask); }
    constexpr FrameType type() const { return static_cast<FrameType>((raw >> type_shift) & 0xf); }
    constexpr u32 progress() const { return static_cast<u32>((raw & progress_mask) >> progress_shift); }
    constexpr bool has(Flag flag) const { return (raw & flag) != 0; }
    constexpr bool is_unhooked() const { return (raw & (Partial | Undo | Locked)) == Partial && count() != 0; }

    // In force as that type, and nobody is at work on it: one more use is one compare-and-swap.
    constexpr bool is_plainly(FrameType t) const {
        constexpr u64 looked_at = u64{0xf} << type_shift | Partial | Locked;
        return (raw & looked_at) == static_cast<u64>(t) << type_shift && count() - 1 < count_mask - 1;
    }
    // Unused, and never used as anything else since its last flush: so is the first use, if nothing is to be validated.
    constexpr bool is_plainly_unused(FrameType t) const { return raw == 0 || raw == static_cast<u64>(t) << type_shift; }

    constexpr TypeWord with_count(u32 n) const { return {(raw & ~count_mask) | n}; }
    constexpr TypeWord with_type(FrameType t) const {
        return {(raw & ~(u64{0xf} << type_shift)) | (static_cast<u64>(t) << type_shift)};
    }
    constexpr TypeWord with_progress(u32 n) const { return {(raw & ~progress_mask) | (u64{n} << progress_shift)}; }
    constexpr TypeWord with(u64 flags) const { return {raw | flags}; }
    constexpr TypeWord without(u64 flags) const { return {raw & ~flags}; }
};

// Flag of FrameInfo::refs: the owner's own reference, given back by release_domain_frame.
inline constexpr u64 allocated_flag = u64{1} << 63;
inline constexpr u64 shared_flag = u64{1} << 62;       // a page of the hypervisor's own: not in the owner's `total`
inline constexpr u64 relinquished_flag = u64{1} << 61; // teardown dealt with it; others' references may remain
inline constexpr u64 refs_mask = (u64{1} << 56) - 1;

constexpr bool is_table(FrameType type) {
    return type >= FrameType::L1 && type <= FrameType::L4;
}
constexpr bool needs_validation(FrameType type) {
    return type >= FrameType::L1 && type <= FrameType::Segments;
}

} // namespace domus::hv
