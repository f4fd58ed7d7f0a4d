// The end of a domain's memory: each frame's pin, half-done validation, allocation reference. Owner: the dying domain.
// Lock: the caller holds Rank::Control; Rank::Pages inside. Preemptible: frames dealt with are freed or move to the end
// of the domain's list, so work goes on where it stopped. Stands in pv because pins and types are PV's; declared in
// core/teardown.hpp, which core calls.
//
// Its vcpus do not run and their roots are dropped already (release_guest_context); mappings that other domains hold
// of its frames keep those frames, and the domain, until they go.
#include "hypervisor/core/frame_owner.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/memory_op.hpp"
#include "hypervisor/core/teardown.hpp"
#include "hypervisor/pv/page_types.hpp"

namespace domus::hv {
namespace {

Result<void> release_types(Mfn mfn) {
    if (take_pin(mfn)) {
        while (!put_type_preemptible(mfn)) {
            if (must_yield()) { // back to pinned: found again by the next run
                frame_info(mfn).type.fetch_or(TypeWord::Pinned, std::memory_order_acq_rel);
                return Err::Restart;
            }
        }
        put_frame(mfn);
    }
    return abandon_validation(mfn);
}

} // namespace

Result<void> relinquish_memory(Call&, Domain& domain) {
    free_memory_map(domain);
    static_cast<void>(set_claim(domain, 0)); // taking one back does not fail
    u32 worked = 0;
    for (Mfn at = next_to_relinquish(domain); at.n != 0; at = next_to_relinquish(domain)) {
        if (!get_frame(at, domain)) { // its last reference is going away in this moment
            arch::relax();
            continue;
        }
        const auto released = release_types(at);
        if (released)
            relinquish(domain, at);
        put_frame(at);
        TRY(released);
        if (++worked % 32 == 0 && must_yield())
            return Err::Restart;
    }
    return {};
}

} // namespace domus::hv
