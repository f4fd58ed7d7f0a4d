// The list of domains: finding, counting references, freeing. Owner of all Domain objects.
// Lock: Rank::DomainList for the list; counts are atomic. find_domain is on hot paths (grants of another domain), so
// there is a hash beside the ordered list. put_domain is callable with any lock held: it only marks.
#include "hypervisor/core/domain.hpp"

#include "hypervisor/core/domain_list.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/teardown.hpp"

namespace domus::hv {
namespace {

constexpr u32 buckets = 256;

struct List {
    Domain* first = nullptr; // by id
    std::array<Domain*, buckets> hash{};
    u16 last_given = 0; // numbers are used in turn, so that a dead domain's does not come back at once
};

constinit Guarded<List, Rank::DomainList> domains;
constinit std::atomic<Domain*> domain0{nullptr};

// One more reference, unless the last one is gone and only reap_domains() has still to see it.
bool try_get(Domain& domain) {
    u32 count = domain.references.load(std::memory_order_relaxed);
    while (count != 0) {
        if (domain.references.compare_exchange_weak(count, count + 1, std::memory_order_acquire))
            return true;
    }
    return false;
}

Domain* in_bucket(const List& list, u16 id) {
    Domain* domain = list.hash[id % buckets];
    while (domain && domain->id.n != id)
        domain = domain->next_in_bucket;
    return domain;
}

// The first in order, from `domain` on, that is still referenced.
DomainRef first_living(Domain* domain) {
    while (domain && !try_get(*domain))
        domain = domain->next;
    return DomainRef(domain);
}

void unlist(Domain& domain) {
    domains.with([&](List& list) {
        Domain** place = &list.first;
        while (*place != &domain)
            place = &(*place)->next;
        *place = domain.next;
        place = &list.hash[domain.id.n % buckets];
        while (*place != &domain)
            place = &(*place)->next_in_bucket;
        *place = domain.next_in_bucket;
    });
}

void free_domain(Domain& domain) {
    for (Vcpu* vcpu : domain.vcpus) {
        if (!vcpu)
            continue;
        destroy_guest_context(*vcpu);
        destroy(vcpu);
    }
    destroy(&domain);
}

} // namespace

constinit vcpu_info_t unregistered_vcpu_info{.evtchn_upcall_mask = 1};
constinit std::atomic<Domain*> unreferenced_domains{nullptr};

void get_domain(Domain& domain) {
    domain.references.fetch_add(1, std::memory_order_relaxed);
}

// The last reference: hand the domain to reap_domains(), by a link of its own since it is in the hash until then.
void put_domain(Domain& domain) {
    if (domain.references.fetch_sub(1, std::memory_order_acq_rel) != 1)
        return;
    Domain* head = unreferenced_domains.load(std::memory_order_relaxed);
    do {
        domain.next_unreferenced = head;
    } while (!unreferenced_domains.compare_exchange_weak(head, &domain, std::memory_order_release));
    arch::kick(arch::this_cpu());
}

void free_unreferenced_domains() {
    Domain* domain = unreferenced_domains.exchange(nullptr, std::memory_order_acquire);
    while (domain) {
        Domain* next = domain->next_unreferenced;
        keep_counters(*domain);
        unlist(*domain);
        log(Level::Debug, "d{} is gone", domain->id);
        free_domain(*domain);
        raise_global_virq_of_machine(VIRQ_DOM_EXC);
        domain = next;
    }
}

DomainRef find_domain(DomId id) {
    return domains.with([&](List& list) {
        Domain* domain = in_bucket(list, id.n);
        return DomainRef(domain && try_get(*domain) ? domain : nullptr);
    });
}

Result<DomainRef> find_target(Domain& caller, u16 domid) {
    if (domid == DOMID_SELF || domid == caller.id.n) {
        get_domain(caller);
        return DomainRef(&caller);
    }
    DomainRef found = find_domain(DomId(domid));
    if (!found)
        return Err::Srch;
    if (!caller.privileged)
        return Err::Perm;
    return found;
}

DomainRef first_domain() {
    return domains.with([](List& list) { return first_living(list.first); });
}

DomainRef next_domain(const Domain& domain) {
    return domains.with([&](List&) { return first_living(domain.next); });
}

DomainRef first_domain_from(DomId id) {
    return domains.with([&](List& list) {
        Domain* domain = list.first;
        while (domain && domain->id < id)
            domain = domain->next;
        return first_living(domain);
    });
}

Domain* dom0() {
    return domain0.load(std::memory_order_acquire);
}

Result<DomId> choose_domain_id(u16 wanted) {
    return domains.with([&](List& list) -> Result<DomId> {
        if (wanted < DOMID_FIRST_RESERVED) {
            if (in_bucket(list, wanted))
                return Err::Exist;
            return DomId(wanted);
        }
        for (u32 tries = 0; tries < DOMID_FIRST_RESERVED; ++tries) {
            list.last_given = static_cast<u16>(list.last_given + 1);
            if (list.last_given >= DOMID_FIRST_RESERVED)
                list.last_given = 1;
            if (!in_bucket(list, list.last_given))
                return DomId(list.last_given);
        }
        return Err::NoSpace;
    });
}

Result<void> enlist(Domain& domain) {
    return domains.with([&](List& list) -> Result<void> {
        if (in_bucket(list, domain.id.n))
            return Err::Exist;
        Domain** place = &list.first;
        while (*place && (*place)->id < domain.id)
            place = &(*place)->next;
        domain.next = *place;
        *place = &domain;
        Domain*& bucket = list.hash[domain.id.n % buckets];
        domain.next_in_bucket = bucket;
        bucket = &domain;
        if (domain.id == DomId(0))
            domain0.store(&domain, std::memory_order_release);
        return {};
    });
}

} // namespace domus::hv
