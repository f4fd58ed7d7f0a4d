// Inside of grant tables. Private to core/grant*.cpp.
//
// The shared table lies in frames that the guest writes at any time: it is read once per decision, and what was
// decided is kept here, in active entries that the guest cannot reach (ISOLATION: the shared entry read once).
// Lock: Rank::Grants around Table, Rank::Maptrack around Maptrack. A mapping involves the granter's Table and the
// mapper's Maptrack, never both locks at once, and neither while page tables are written.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/grants.hpp"

namespace domus::hv {

inline constexpr u32 v1_per_frame = page_size / sizeof(grant_entry_v1_t);
inline constexpr u32 v2_per_frame = page_size / sizeof(grant_entry_v2_t);
inline constexpr u32 status_per_frame = page_size / sizeof(grant_status_t);
inline constexpr u32 most_grant_frames = 512;
inline constexpr u32 most_status_frames = most_grant_frames * v2_per_frame / status_per_frame;
static_assert(v1_per_frame == 512 && v2_per_frame == 256 && status_per_frame == 2048);

// A grant in use. Pins count what relies on it; while there are any, everything else here is fixed.
struct ActiveGrant {
    Mfn frame;
    u32 readers = 0;
    u32 writers = 0;
    u16 user = 0;                      // domain it is granted to
    u16 start = 0, length = page_size; // v2 sub-page grants
    bool is_used() const { return (readers | writers) != 0; }
};

inline constexpr u32 active_per_chunk = page_size / sizeof(ActiveGrant);
struct ActiveChunk {
    std::array<ActiveGrant, active_per_chunk> grants;
};

struct Table {
    u32 version = 1;
    u32 max_version = 2;
    u32 max_frames = 0;
    u32 frame_count = 0;
    u32 status_count = 0;
    u32 used = 0;      // active grants
    bool gone = false; // the domain died: the shared frames are given back, only active entries remain
    std::array<Mfn, most_grant_frames> frames{};
    std::array<Mfn, most_status_frames> status_frames{};
    std::array<ActiveChunk*, most_grant_frames * v1_per_frame / active_per_chunk + 1> chunks{};

    u32 entries() const { return frame_count * (version == 1 ? v1_per_frame : v2_per_frame); }
    // The one door for references that a guest chose: nullptr if it is not in the table.
    ActiveGrant* at(GrantRef ref) {
        ActiveChunk* chunk = ref.n < entries() ? chunks[ref.n / active_per_chunk] : nullptr;
        return chunk ? &chunk->grants[ref.n % active_per_chunk] : nullptr;
    }
    grant_entry_v1_t* v1(GrantRef ref) {
        return arch::frame_as<grant_entry_v1_t>(frames[ref.n / v1_per_frame]) + ref.n % v1_per_frame;
    }
    grant_entry_v2_t* v2(GrantRef ref) {
        return arch::frame_as<grant_entry_v2_t>(frames[ref.n / v2_per_frame]) + ref.n % v2_per_frame;
    }
    grant_status_t* status(GrantRef ref) {
        return arch::frame_as<grant_status_t>(status_frames[ref.n / status_per_frame]) + ref.n % status_per_frame;
    }
};

// --- core/grant_maptrack.cpp: the mappings a domain holds ---
struct Mapping {
    enum class State : u8 { Free, Changing, Mapped }; // Changing: a hypercall is making or undoing it
    Domain* granter = nullptr;                        // counted while not Free
    Mfn frame;
    u32 ref = 0; // Free: the next free handle
    u32 flags = 0;
    State state = State::Free;
};

inline constexpr u32 mappings_per_chunk = page_size / sizeof(Mapping);
inline constexpr u32 most_maptrack_chunks = 1024;

struct MappingChunk {
    std::array<Mapping, mappings_per_chunk> mappings;
};
static_assert(sizeof(MappingChunk) <= page_size);

inline constexpr u32 no_handle = ~u32{0};

struct Maptrack {
    u32 max_chunks = 0;
    u32 chunk_count = 0;
    u32 first_free = no_handle;
    u32 release_cursor = 0;
    std::array<MappingChunk*, most_maptrack_chunks> chunks{};

    Mapping* at(u32 handle) {
        const u32 chunk = handle / mappings_per_chunk;
        return chunk < chunk_count ? &chunks[chunk]->mappings[handle % mappings_per_chunk] : nullptr;
    }
};

struct GrantState {
    Guarded<Table, Rank::Grants> table;
    Guarded<Maptrack, Rank::Maptrack> maptrack;
};

// A handle in state Changing; no_handle: none left. The granter's reference is taken.
u32 reserve_mapping(Domain& mapper, Domain& granter);
void commit_mapping(Domain& mapper, u32 handle, u32 ref, u32 flags, Mfn);
// Mapped -> Changing, and a copy of it; false: no such mapping.
bool take_mapping(Domain& mapper, u32 handle, Mapping& out);
// Changing -> Mapped with these flags.
void restore_mapping(Domain& mapper, u32 handle, u32 flags);
// Changing -> Free; drops the granter's reference.
void free_mapping(Domain& mapper, u32 handle);

// --- core/grant_pin.cpp: using a grant. Answers are GNTST_* ---
struct Pinned {
    Mfn frame;
    u16 start = 0, length = 0; // the part that may be used
};
enum class Access : bool { Read, Write };
enum class Use : bool { Map, Copy }; // part of a page may be copied, not mapped

// Pin `ref` of the granter for `user`, with one general reference (and one Writable type reference for writing).
i16 pin_grant(Domain& granter, GrantRef, DomId user, Access, Use, Pinned& out);
// The pin only; the references are the caller's to drop.
void unpin_grant(Domain& granter, GrantRef, Access);
void drop_frame(Mfn, Access);

// --- core/grants.cpp ---
Result<void> grow_table(Domain&, Table&, u32 frames); // Err::NoMem; Err::Inval: more than allowed
Result<void> ensure_backing(Domain&, Table&);         // active entries and status frames for the present version
i16 status_of(Err);

// --- sub-operations of grant_table_op, a batch each ---
Result<i64> grant_map(Call&, u64 arguments, u32 count);
Result<i64> grant_unmap(Call&, u64 arguments, u32 count);
Result<i64> grant_unmap_and_replace(Call&, u64 arguments, u32 count);
Result<i64> grant_copy(Call&, u64 arguments, u32 count);

} // namespace domus::hv
