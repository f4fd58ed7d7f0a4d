// The mappings of others' grants that a domain holds: handles, bounded in number, grown a page at a time.
// Lock: Rank::Maptrack. ISOLATION: a handle is in one state; two vcpus cannot undo one mapping twice.
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/grants_state.hpp"

namespace domus::hv {
namespace {

bool grow(Maptrack& m) {
    if (m.chunk_count >= m.max_chunks)
        return false;
    MappingChunk* chunk = make<MappingChunk>();
    if (!chunk)
        return false;
    const u32 first = m.chunk_count * mappings_per_chunk;
    for (u32 i = mappings_per_chunk; i-- > 0;) {
        chunk->mappings[i].ref = m.first_free;
        m.first_free = first + i;
    }
    m.chunks[m.chunk_count++] = chunk;
    return true;
}

} // namespace

u32 reserve_mapping(Domain& mapper, Domain& granter) {
    return mapper.grants.state()->maptrack.with([&](Maptrack& m) {
        if (m.first_free == no_handle && !grow(m))
            return no_handle;
        const u32 handle = m.first_free;
        Mapping& mapping = *m.at(handle);
        m.first_free = mapping.ref;
        mapping.state = Mapping::State::Changing;
        get_domain(granter);
        mapping.granter = &granter;
        return handle;
    });
}

void commit_mapping(Domain& mapper, u32 handle, u32 ref, u32 flags, Mfn frame) {
    mapper.grants.state()->maptrack.with([&](Maptrack& m) {
        Mapping& mapping = *m.at(handle);
        mapping.ref = ref;
        mapping.flags = flags;
        mapping.frame = frame;
        mapping.state = Mapping::State::Mapped;
    });
}

bool take_mapping(Domain& mapper, u32 handle, Mapping& out) {
    return mapper.grants.state()->maptrack.with([&](Maptrack& m) {
        Mapping* mapping = m.at(handle);
        if (!mapping || mapping->state != Mapping::State::Mapped)
            return false;
        mapping->state = Mapping::State::Changing;
        out = *mapping;
        return true;
    });
}

void restore_mapping(Domain& mapper, u32 handle, u32 flags) {
    mapper.grants.state()->maptrack.with([&](Maptrack& m) {
        m.at(handle)->flags = flags;
        m.at(handle)->state = Mapping::State::Mapped;
    });
}

void free_mapping(Domain& mapper, u32 handle) {
    Domain* granter = mapper.grants.state()->maptrack.with([&](Maptrack& m) {
        Mapping& mapping = *m.at(handle);
        Domain* was = mapping.granter;
        mapping = Mapping{};
        mapping.ref = m.first_free;
        m.first_free = handle;
        return was;
    });
    put_domain(*granter);
}

} // namespace domus::hv
