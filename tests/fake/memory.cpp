// arch/iface/memory.hpp on the fake machine: direct map, page-table entries, translation buffers.
#include "hypervisor/arch/iface/memory.hpp"

#include "hypervisor/pv/page_entry.hpp"
#include "tests/fake/machine.hpp"

#include <cstring>

namespace domus::hv::arch {

using fake::machine;

u8* frame_pointer(Mfn mfn) {
    return machine().frame(mfn);
}
Mfn frame_of_pointer(const void* p) {
    return Mfn(static_cast<u64>(static_cast<const u8*>(p) - machine().frame(Mfn(0))) / page_size);
}
void* frame_table_base() {
    // Not machine(): the machine's start itself comes here.
    return fake::machine().infos.data();
}
u64 frame_limit() {
    return fake::ram_frames;
}

u64 read_entry(Mfn table, u32 index) {
    return machine().table(table)[index];
}
void write_entry(Mfn table, u32 index, u64 value) {
    const u64 before = machine().table(table)[index];
    machine().table(table)[index] = value;
    machine().note_write(table, index, before, value);
}
bool exchange_entry(Mfn table, u32 index, u64& expected, u64 value) {
    if (machine().late_exchanges != 0) {
        --machine().late_exchanges;
        write_entry(table, index, machine().table(table)[index] ^ u64{0x20});
    }
    const u64 before = machine().table(table)[index];
    if (before != expected) {
        expected = before;
        return false;
    }
    write_entry(table, index, value);
    return true;
}

void flush_page(CpuMask, Vaddr) {} // too little to make a frame safe: the model knows whole flushes only
void flush_all(CpuMask mask) {
    machine().note_flush(mask);
}
void load_root(Mfn root) {
    machine().load_root(base_of(root).n);
}
void copy_hypervisor_slots(Mfn l4) {
    for (u32 i = first_hypervisor_slot; i <= last_hypervisor_slot; ++i)
        machine().table(l4)[i] = fake::hypervisor_slot_value + (u64{i} << 32);
}
void write_back_caches() {
    ++machine().cache_flushes;
}
void zero_frame(Mfn mfn) {
    std::memset(frame_pointer(mfn), 0, page_size);
}
void copy_frame(Mfn to, Mfn from) {
    std::memcpy(frame_pointer(to), frame_pointer(from), page_size);
}
void write_m2p(Mfn mfn, u64 pfn) {
    machine().m2p[mfn.n] = pfn;
}
u64 read_m2p(Mfn mfn) {
    return machine().m2p[mfn.n];
}

} // namespace domus::hv::arch
