// GNTTABOP_copy: bytes from one frame to another, each given by a grant or as the caller's own frame.
// Lock: none while copying; both frames are held by pins or references. Called by grant_table_op.
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/grant_batch.hpp"
#include "hypervisor/core/log.hpp"

#include <cstring>

namespace domus::hv {
namespace {

// The domains of a batch. Most batches speak of one granter and of the caller: each is looked up once for each side.
class Granters {
public:
    explicit Granters(Domain& caller) : caller_(caller) {}
    // nullptr: no such domain. Stands until the next find().
    Domain* find(u16 id) {
        if (id == DOMID_SELF || id == caller_.id.n)
            return &caller_;
        if (!last_ || last_->id.n != id)
            last_ = find_domain(DomId(id));
        return last_ ? &*last_ : nullptr;
    }

private:
    Domain& caller_;
    DomainRef last_;
};

// One side of a copy, held; given back by the destructor.
class Side {
public:
    Side() = default;
    Side(const Side&) = delete;
    ~Side() {
        if (!held_)
            return;
        drop_frame(pinned_.frame, access_);
        if (granter_)
            unpin_grant(*granter_, ref_, access_);
    }

    i16 hold(Domain& caller, Granters& granters, const gnttab_copy::gnttab_copy_ptr& where, bool by_grant,
             Access access, u16 length) {
        access_ = access;
        if (const i16 bad = by_grant ? hold_grant(caller, granters, where) : hold_own(caller, where))
            return bad;
        held_ = true;
        // The whole range, in what was granted (ISOLATION: check the range really touched).
        const u32 start = where.offset, end = u32{where.offset} + length;
        if (start < pinned_.start || end > u32{pinned_.start} + pinned_.length)
            return GNTST_bad_copy_arg;
        bytes_ = arch::frame_pointer(pinned_.frame) + where.offset;
        return GNTST_okay;
    }
    u8* bytes() const { return bytes_; }

private:
    i16 hold_grant(Domain& caller, Granters& granters, const gnttab_copy::gnttab_copy_ptr& where) {
        Domain* granter = granters.find(where.domid);
        if (!granter)
            return GNTST_bad_domain;
        ref_ = GrantRef(where.u.ref);
        if (const i16 bad = pin_grant(*granter, ref_, caller.id, access_, Use::Copy, pinned_))
            return bad;
        granter_ = granter;
        return GNTST_okay;
    }
    i16 hold_own(Domain& caller, const gnttab_copy::gnttab_copy_ptr& where) {
        if (where.domid != DOMID_SELF && where.domid != caller.id.n)
            return GNTST_permission_denied;
        pinned_ = {Mfn(where.u.gmfn), 0, page_size};
        const auto got = access_ == Access::Write ? get_frame_and_type(pinned_.frame, caller, FrameType::Writable)
                                                  : get_frame(pinned_.frame, caller);
        return got ? GNTST_okay : GNTST_bad_page;
    }

    Domain* granter_ = nullptr; // held by Granters
    GrantRef ref_;
    Pinned pinned_;
    Access access_ = Access::Read;
    bool held_ = false;
    u8* bytes_ = nullptr;
};

// Each side has granters of its own: what one holds must not go when the other looks further.
struct Sides {
    Granters from, to;
};

i16 copy_one(Call& call, Sides& granters, const gnttab_copy_t& op) {
    if (op.flags & ~(GNTCOPY_source_gref | GNTCOPY_dest_gref))
        return GNTST_general_error;
    if (u32{op.source.offset} + op.len > page_size || u32{op.dest.offset} + op.len > page_size)
        return GNTST_bad_copy_arg;
    Side from, to;
    if (const i16 bad =
            from.hold(call.domain, granters.from, op.source, op.flags & GNTCOPY_source_gref, Access::Read, op.len))
        return bad;
    if (const i16 bad = to.hold(call.domain, granters.to, op.dest, op.flags & GNTCOPY_dest_gref, Access::Write, op.len))
        return bad;
    std::memmove(to.bytes(), from.bytes(), op.len); // the two may be one frame
    return GNTST_okay;
}

} // namespace

Result<i64> grant_copy(Call& call, u64 arguments, u32 count) {
    Sides granters{Granters(call.domain), Granters(call.domain)};
    return for_each_op<gnttab_copy_t>(call, GNTTABOP_copy, arguments, count, [&](gnttab_copy_t& op) {
        op.status = copy_one(call, granters, op);
        if (op.status != GNTST_okay)
            why(call.domain, "grant copy: {} bytes from d{} to d{}: status {}", op.len, op.source.domid, op.dest.domid,
                op.status);
    });
}

} // namespace domus::hv
