// Small objects for the hypervisor: size classes carved out of single frames, larger ones whole frames.
// Owner: this file. Lock: Rank::Heap (then Rank::Frames). A frame whose objects are all gone goes back to the free
// frames, so that a domain leaves nothing behind. Zero-filled on allocation.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/core/frames.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace domus::hv {
namespace {

constexpr usize smallest = 32;
constexpr usize largest = 1024;
constexpr usize class_count = std::bit_width(largest / smallest);

// At the start of each carved frame.
struct Slab {
    Slab* next;
    Slab* previous;
    void* free_objects; // each free object starts with a pointer to the next
    u32 used;
    u32 size;
};
static_assert(sizeof(Slab) <= smallest);

constinit Guarded<std::array<Slab*, class_count>, Rank::Heap> slabs_with_room;

usize class_of(usize bytes) {
    return bytes <= smallest ? 0 : std::bit_width((bytes - 1) / smallest);
}

void enter(Slab*& head, Slab* slab) {
    slab->previous = nullptr;
    slab->next = head;
    if (head)
        head->previous = slab;
    head = slab;
}

void leave(Slab*& head, Slab* slab) {
    (slab->previous ? slab->previous->next : head) = slab->next;
    if (slab->next)
        slab->next->previous = slab->previous;
}

Slab* carve(usize size) {
    auto frame = allocate_frames();
    if (!frame)
        return nullptr;
    auto* slab = new (arch::frame_pointer(frame.value())) Slab{nullptr, nullptr, nullptr, 0, static_cast<u32>(size)};
    u8* base = reinterpret_cast<u8*>(slab);
    for (usize at = page_size - size; at >= smallest && at >= size; at -= size) {
        *reinterpret_cast<void**>(base + at) = slab->free_objects;
        slab->free_objects = base + at;
    }
    return slab;
}

u32 order_of(usize bytes) {
    return std::bit_width(pages_for(bytes) - 1);
}

} // namespace

void* heap_allocate(usize bytes) {
    if (bytes > largest) {
        auto frames = allocate_frames(order_of(bytes));
        return frames ? arch::frame_pointer(frames.value()) : nullptr;
    }
    const usize index = class_of(bytes);
    return slabs_with_room.with([&](auto& heads) -> void* {
        Slab* slab = heads[index];
        if (!slab) {
            slab = carve(smallest << index);
            if (!slab)
                return nullptr;
            enter(heads[index], slab);
        }
        void* object = slab->free_objects;
        slab->free_objects = *static_cast<void**>(object);
        ++slab->used;
        if (!slab->free_objects)
            leave(heads[index], slab);
        std::memset(object, 0, slab->size);
        return object;
    });
}

void heap_free(void* object, usize bytes) {
    if (!object)
        return;
    if (bytes > largest)
        return free_frames(arch::frame_of_pointer(object), order_of(bytes));
    const usize index = class_of(bytes);
    slabs_with_room.with([&](auto& heads) {
        auto* slab = reinterpret_cast<Slab*>(reinterpret_cast<u64>(object) & ~page_mask);
        if (!slab->free_objects)
            enter(heads[index], slab);
        *static_cast<void**>(object) = slab->free_objects;
        slab->free_objects = object;
        if (--slab->used == 0) {
            leave(heads[index], slab);
            free_frames(arch::frame_of_pointer(slab));
        }
    });
}

} // namespace domus::hv
