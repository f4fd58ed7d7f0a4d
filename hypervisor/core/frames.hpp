// Free frames (buddy allocator) and small objects. Locks: Rank::Frames, Rank::Heap inside.
// A frame that belonged to a domain is scrubbed before it is handed out again.
#pragma once

#include "hypervisor/base/result.hpp"

#include <new>
#include <utility>

namespace domus::hv {

inline constexpr u32 max_order = 18; // 1 GiB

// Start-up: give the allocator RAM that nobody uses. [start, end). It comes out as firmware and loader left it, until
// mark_free_frames_dirty(): from then on (dom0 is built) frames that nobody had yet are scrubbed as well.
void add_free_frames(Mfn start, Mfn end);
void mark_free_frames_dirty();

// 2^order contiguous frames for the hypervisor's own use, contents zeroed. Err::NoMem.
Result<Mfn> allocate_frames(u32 order = 0);
// Same without zeroing: for memory that is overwritten whole at once. Still never shows another domain's bytes.
Result<Mfn> allocate_frames_below(u32 order, u32 address_bits); // below 2^address_bits bytes
// The same for whoever holds a claim: up to `of_claim` of the frames are taken out of what is promised.
Result<Mfn> allocate_claimed_frames(u32 order, u32 address_bits, u64 of_claim);
void free_frames(Mfn first, u32 order = 0);

// For a CPU that has nothing else to do: zeroes some of the free frames that somebody had, so that whoever allocates
// them need not. A short step; false when none is left.
bool scrub_free_frames();

// Claims: free frames promised to somebody, so that no other allocation gets them. A number only, no certain frames.
Result<void> claim_frames(u64 count); // Err::NoMem: there are not so many that are free and not promised
void unclaim_frames(u64 count);

u64 free_frame_count(); // claimed ones too
u64 claimed_frame_count();
u64 total_frame_count();

// Objects of up to a few pages, zero-filled. nullptr when memory is out.
void* heap_allocate(usize bytes);
void heap_free(void*, usize bytes);

template <class T, class... Args>
T* make(Args&&... args) {
    void* memory = heap_allocate(sizeof(T));
    return memory ? new (memory) T(std::forward<Args>(args)...) : nullptr;
}
template <class T>
void destroy(T* object) {
    if (!object)
        return;
    object->~T();
    heap_free(object, sizeof(T));
}

} // namespace domus::hv
