// memory_op exchange: frames for others of another size or address. Source: <xen/memory.h>, XENMEM_exchange.
// Works in chunks of the larger of the two extent sizes; a chunk is exchanged whole or not at all.
// ISOLATION, memory operations: only frames with no mapping and no type go (steal_frame); when no new ones are to be
// had the old ones are given back, so that running out of memory changes nothing. Frames that are already as they are
// wanted stay: dom0 asks for 64 MiB of bounce buffers in contiguous pieces, and it was given contiguous memory to begin
// with.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/memory_op.hpp"

namespace domus::hv {
namespace {

struct Exchange {
    xen_memory_exchange_t request;
    DomainRef target;
    GuestPtr<xen_pfn_t> in, out;
    u32 chunk_order; // frames of a chunk, as an order

    u64 frames() const { return u64{1} << chunk_order; }
    u64 in_extents() const { return frames() >> request.in.extent_order; }
    u64 out_extents() const { return frames() >> request.out.extent_order; }
};

Result<Exchange> exchange_of(const MemoryCall& memory) {
    const auto request = TRY(copy_in(memory.argument.as<xen_memory_exchange_t>()));
    const auto &in = request.in, &out = request.out;
    if (in.extent_order > largest_order(memory.caller()) || out.extent_order > largest_order(memory.caller()))
        return Err::Perm;
    if (in.domid != out.domid || request.nr_exchanged > in.nr_extents || in.nr_extents > ~u64{0} >> in.extent_order ||
        out.nr_extents > ~u64{0} >> out.extent_order ||
        in.nr_extents << in.extent_order != out.nr_extents << out.extent_order)
        return Err::Inval;
    const u32 order = in.extent_order > out.extent_order ? in.extent_order : out.extent_order;
    Exchange exchange{request, TRY(find_target(memory.caller(), in.domid)), guest_ptr(in.extent_start),
                      guest_ptr(out.extent_start), order};
    if (request.nr_exchanged % exchange.in_extents() != 0 || exchange.target->life.load() == Life::Dying)
        return Err::Inval;
    return exchange;
}

// A chunk's frames, old and new, as lists through FrameInfo::next (they are the hypervisor's own meanwhile). What is
// still listed when the object goes is undone: new frames are freed, old ones given back.
class Chunk {
public:
    explicit Chunk(Domain& domain) : domain_(domain) {}
    Chunk(const Chunk&) = delete;
    ~Chunk() {
        for (Mfn mfn = pop(fresh_); mfn.n != 0; mfn = pop(fresh_))
            free_frames(mfn);
        for (Mfn mfn = pop(old_); mfn.n != 0; mfn = pop(old_)) {
            if (!adopt_frame(domain_, mfn)) {
                log(Level::Warning, "d{}: a failed exchange could not give frame {x} back", domain_.id, mfn);
                free_frames(mfn);
            }
        }
    }
    Result<void> allocate(u32 order, u32 address_bits) {
        const Mfn first = TRY(allocate_frames_below(order, address_bits));
        for (u64 i = u64{1} << order; i-- > 0;) // the list gives them in order of address again
            push(fresh_, first + i);
        return {};
    }
    Result<void> steal(Mfn mfn) {
        TRY(steal_frame(domain_, mfn));
        if (old_ == 0)
            lowest_ = mfn;
        else if (mfn != last_ + 1)
            in_one_piece_ = false;
        last_ = mfn;
        push(old_, mfn);
        return {};
    }
    // Are the stolen frames themselves one extent of that order below that many bits?
    bool is_already(u32 order, u32 address_bits) const {
        return in_one_piece_ && lowest_.n % (u64{1} << order) == 0 && last_.n + 1 == lowest_.n + (u64{1} << order) &&
               (address_bits >= 64 || base_of(last_ + 1).n <= u64{1} << address_bits);
    }
    void take_old_as_fresh() {
        for (Mfn mfn = pop(old_); mfn.n != 0; mfn = pop(old_)) // turned round: in order of address
            push(fresh_, mfn);
    }
    Mfn next_fresh() { return pop(fresh_); }
    void free_old() {
        for (Mfn mfn = pop(old_); mfn.n != 0; mfn = pop(old_))
            free_frames(mfn);
    }

private:
    static void push(u32& head, Mfn mfn) {
        frame_info(mfn).next = head;
        head = static_cast<u32>(mfn.n);
    }
    static Mfn pop(u32& head) {
        const Mfn first(head);
        if (head != 0) {
            head = frame_info(first).next;
            frame_info(first).next = 0;
        }
        return first;
    }
    Domain& domain_;
    u32 fresh_ = 0, old_ = 0;
    Mfn lowest_{}, last_{}; // of the stolen ones, as long as they are in one piece
    bool in_one_piece_ = true;
};

Result<void> steal_chunk(const Exchange& exchange, Chunk& chunk, u64 first_in) {
    for (u64 i = 0; i < exchange.in_extents(); ++i) {
        const u64 first = TRY(copy_in(exchange.in, first_in + i));
        for (u64 k = 0; k < u64{1} << exchange.request.in.extent_order; ++k) {
            if (auto stolen = chunk.steal(Mfn(first + k)); !stolen) {
                why(*exchange.target, "exchange of frame {x}, which is not its own or still in use", first + k);
                return stolen;
            }
        }
    }
    return {};
}

// From here on the exchange is done: the old frames are gone, the new ones are the domain's.
Result<void> commit_chunk(const Exchange& exchange, Chunk& chunk, u64 first_out) {
    chunk.free_old();
    flush_stale_translations();
    for (u64 i = exchange.out_extents(); i-- > 0;) {
        const u64 pfn = TRY(copy_in(exchange.out, first_out + i));
        Mfn first{};
        for (u64 k = 0; k < u64{1} << exchange.request.out.extent_order; ++k) {
            const Mfn mfn = chunk.next_fresh();
            if (k == 0)
                first = mfn;
            if (!adopt_frame(*exchange.target, mfn)) {
                free_frames(mfn);
                return Err::NoMem;
            }
            arch::write_m2p(mfn, pfn + k);
        }
        TRY(copy_out(exchange.out, first.n, first_out + i));
    }
    return {};
}

Result<void> exchange_chunk(const Exchange& exchange, u64 chunk_number) {
    Chunk chunk(*exchange.target);
    const u32 asked = XENMEMF_get_address_bits(exchange.request.out.mem_flags);
    const u32 bits = asked == 0 || asked > 64 ? 64 : asked;
    const u32 order = exchange.request.out.extent_order;
    TRY(steal_chunk(exchange, chunk, chunk_number * exchange.in_extents()));
    if (exchange.out_extents() == 1 && chunk.is_already(order, bits)) {
        chunk.take_old_as_fresh();
    } else {
        for (u64 i = 0; i < exchange.out_extents(); ++i)
            TRY(chunk.allocate(order, bits));
    }
    return commit_chunk(exchange, chunk, chunk_number * exchange.out_extents());
}

} // namespace

Result<i64> exchange_memory(MemoryCall& memory) {
    Exchange exchange = TRY(exchange_of(memory));
    u64& done = exchange.request.nr_exchanged;
    Result<void> result;
    const u64 first = done;
    while (done < exchange.request.in.nr_extents) {
        if (done != first && must_yield()) {
            new (&result) Result<void>(Err::Restart);
            break;
        }
        auto chunk = exchange_chunk(exchange, done / exchange.in_extents());
        if (!chunk) {
            new (&result) Result<void>(chunk.error());
            break;
        }
        done += exchange.in_extents();
    }
    TRY(copy_out(GuestPtr<xen_ulong_t>{memory.argument.address + offsetof(xen_memory_exchange_t, nr_exchanged)}, done));
    if (result)
        return i64{0};
    return result.error() == Err::Restart ? memory.later(0) : result.error();
}

} // namespace domus::hv
