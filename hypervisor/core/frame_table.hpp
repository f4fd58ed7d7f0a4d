// The frame table: one entry per machine frame, with owner, general references and type references.
//
// The one invariant of PV: no frame is ever writable by a guest while it is a page table or descriptor table in
// force. A frame has one type at a time and a count of uses as that type; a type changes only at count zero.
// Counts change by compare-and-swap; no lock. Validation of page tables (pv/page_types) is reached through hooks.
#pragma once

#include "hypervisor/base/result.hpp"

#include <atomic>

namespace domus::hv {

struct Domain;

enum class FrameType : u8 {
    None = 0,
    L1 = 1, // page tables by level
    L2 = 2,
    L3 = 3,
    L4 = 4,
    Segments = 5, // GDT or LDT
    Writable = 6, // mapped writable by a guest
    Shared = 7,   // the hypervisor's own page shared with a guest: shared_info, grant frames
};

// General references: bits 0..55 the count; flag Allocated says that the owner holds its own one ("allocation
// reference"). Type word: count in bits 0..31, type in 32..35, flags above. See core/frame_word.hpp for its states.
struct FrameInfo {
    std::atomic<u64> refs{0};
    std::atomic<u64> type{0};
    std::atomic<Domain*> owner{nullptr};
    u32 next = 0; // neighbours in the owner's list of frames, or in the allocator's free list
    u32 previous = 0;
};

FrameInfo& frame_info(Mfn); // frame must be below frame_limit()
FrameInfo* find_frame(Mfn); // nullptr: not RAM of this machine

// Start-up: frames below frame_limit() are the hypervisor's own until told otherwise (nobody may map them).
// [start, end) is not RAM: devices, firmware tables, holes; mappable by privileged domains only. Frames at or above
// frame_limit() are device frames by themselves.
void declare_device_frames(Mfn start, Mfn end);
// Device frames that no domain may map (local APIC, I/O APICs ...), wherever they lie. At most 16 ranges.
// Start-up: how many address bits the CPU has (CPUID 0x80000008); frames beyond are nobody's.
void set_physical_address_bits(u32 bits);
void forbid_device_frames(Mfn start, Mfn end);
bool is_device_frame(Mfn);

// A general reference keeps the frame from being freed. Err::Inval: not RAM; Err::Perm: not owned by `owner`.
Result<void> get_frame(Mfn, const Domain& owner);
// One more of a frame on which the caller already holds one (by way of an entry that maps it, for instance).
void get_another(Mfn);
void put_frame(Mfn); // the last one frees the frame

// A type reference; validates the frame as that type if it is not so already. The caller holds a general reference.
// Err::Busy: in use as another type; Err::Inval: its contents are refused; Err::Restart: validation stopped half-way
// because other work waits, call again to go on (the frame keeps what was done).
Result<void> get_type(Mfn, FrameType);
// Err::Restart: the frame was a table and taking it down stopped half-way: the caller still owns the reference and
// must call again.
Result<void> put_type_preemptible(Mfn);
void put_type(Mfn); // the same, to its end
// One more use of the type that the frame has now, if it has one in force. Err::Busy otherwise.
Result<FrameType> get_present_type(Mfn);

// Give up a half-way validation that nobody goes on with (teardown). Err::Restart: call again.
Result<void> abandon_validation(Mfn);

// Translations that may be cached although the references behind them are gone: they are flushed once, before the
// first frame they could reach is used as something else or by somebody else.
void note_stale_translations();
void flush_stale_translations();
bool translations_are_stale(); // noted and not flushed yet

inline Result<void> get_frame_and_type(Mfn mfn, const Domain& owner, FrameType type) {
    TRY(get_frame(mfn, owner));
    if (auto got = get_type(mfn, type); !got) {
        put_frame(mfn);
        return got.error();
    }
    return {};
}
inline void put_frame_and_type(Mfn mfn) {
    put_type(mfn);
    put_frame(mfn);
}

// Domain memory: frames owned by a domain, counted against max_pages. 2^order contiguous frames, none of another
// domain's bytes in them. Err::NoMem.
Result<Mfn> allocate_domain_frames(Domain&, u32 order, u32 address_bits = 64);
// XENMEM_claim_pages: promise the domain what it lacks of `pages`; 0 takes the promise back. Expires as it is met.
// Err::Inval: it has one already, or more frames than that, or may not have so many; Err::NoMem: not so much is free.
Result<void> set_claim(Domain&, u64 pages);
// Start-up: make a frame of the hypervisor's (boot module, allocate_frames) the domain's. Counted. Err::NoMem.
Result<void> adopt_frame(Domain&, Mfn);
// Drop the allocation reference; the frame goes when the last other reference goes. Err::Inval: not owned or already
// dropped.
Result<void> release_domain_frame(Domain&, Mfn);
// Take a frame away from its domain with its contents, if nobody else refers to it: it is then the hypervisor's own
// (the exchange of memory gives it back with adopt_frame, or to the free frames). Err::Inval, Err::Busy.
Result<void> steal_frame(Domain&, Mfn);

// A page of the hypervisor's that a guest may map (shared_info, grant frames): owned by the domain, not counted, type
// Shared or writable. `writable`: guests may map it writable.
Result<Mfn> allocate_shared_frame(Domain&, bool writable = true);
void free_shared_frame(Domain&, Mfn); // takes the allocation reference back; last guest mapping frees

} // namespace domus::hv
