// A domain: identity, life, vcpus and its parts. Owner: the domain list (core/domain_list.cpp), by reference count.
// Lock: each part has its own (see base/ranks.hpp); `settings` below are written by domctl only (Rank::Control).
#pragma once

#include "hypervisor/core/console_line.hpp"
#include "hypervisor/core/events.hpp"
#include "hypervisor/core/grants.hpp"
#include "hypervisor/core/hypercall.hpp"
#include "hypervisor/core/perf.hpp"
#include "hypervisor/core/timer.hpp"
#include "hypervisor/core/unhooked_table.hpp"
#include "hypervisor/core/vcpu.hpp"

#include "hypervisor/base/guarded.hpp"

namespace domus::hv {

inline constexpr u32 max_vcpus_per_domain = 128;
inline constexpr DomId domid_xen{DOMID_XEN};
inline constexpr DomId domid_io{DOMID_IO};

enum class Life : u8 { Building, Alive, ShutDown, Dying, Dead };

// Frames owned by a domain: a list through FrameInfo, and counts.
struct OwnedFrames {
    u64 head = 0; // mfn of the first, 0: none
    u64 tail = 0;
    u64 total = 0;
    u64 maximum = 0;
    u64 claimed = 0; // promised by XENMEM_claim_pages and not given yet
    u64 shared = 0; // of the hypervisor's pages shared with this domain (not in `total`, not counted against `maximum`)
};

struct Domain {
    explicit Domain(DomId i) : id(i), events(*this), grants(*this) {}

    const DomId id;
    bool privileged = false; // dom0: may call control operations
    std::atomic<Life> life{Life::Building};
    std::atomic<u32> references{1};
    std::atomic<u32> pause_count{1};          // a new domain is paused until the first unpause
    std::atomic<bool> has_shut_down{false};   // stays set while it dies
    std::atomic<u8> shutdown_reason{0};       // SHUTDOWN_*, valid when has_shut_down
    u8 handle[16] = {};                       // uuid
    std::atomic<arch::CpuMask> dirty_cpus{0}; // CPUs that may hold translations of this domain

    u32 max_vcpus = 0;
    std::array<Vcpu*, max_vcpus_per_domain> vcpus{};

    Guarded<OwnedFrames, Rank::Pages> frames;
    Mfn shared_info_frame = invalid_mfn;
    shared_info_t* shared = nullptr;

    EventChannels events;
    GrantTable grants;
    PerfCounters perf;

    // PV memory
    struct GuestMemoryMap* memory_map = nullptr; // XENMEM_set_memory_map (core/memory_op_maps.cpp), nullptr: none given
    std::atomic<bool> suppress_sync{false};
    u32 vm_assist = 0;
    std::atomic<bool> has_unhooked{false}; // an L1 table of its is out of force (pv/unhooked.hpp)
    Guarded<UnhookedTable, Rank::PageTables> unhooked;
    u64 p2m_generation = 0;

    // Settings
    u32 weight = 256;               // scheduler: share
    u32 cap = 0;                    // per cent of one CPU, 0: none
    std::atomic<u64> cap_used{0};   // ns of the present accounting period that are spent (sched_fair.cpp)
    std::atomic<u64> cap_period{0}; // number of that period
    i64 time_offset_seconds = 0;    // added to the wall clock
    u32 tsc_mode = 2;               // domctl settscinfo; rdtsc is native whatever it says
    u32 max_event_port = 1023;
    bool debugger_attached = false;
    std::atomic<u64> run_time{0};     // ns, all vcpus
    std::atomic<u32> pollers{0};      // vcpus in sched_op poll
    u32 controller_pauses = 1;        // pauses by domctl; part of pause_count
    std::array<Timer, 2> watchdogs{}; // sched_op watchdog
    u32 watchdogs_in_use = 0;         // bit n: watchdogs[n]
    i32 latched_shutdown_code = -1;   // sched_op shutdown_code

    // What remains to be done for a dying domain (core/teardown.cpp), so that the work can stop and go on.
    u32 teardown_step = 0;
    std::atomic<u32> log_budget{100}; // why-messages left in this second
    u64 log_window = 0;
    ConsoleLine console_line; // what it wrote through console_io since its last newline

    Vcpu* vcpu(u32 i) const { return i < max_vcpus ? vcpus[i] : nullptr; }
    Domain* next = nullptr; // domain list, ordered by id
    Domain* next_in_bucket = nullptr;
    Domain* next_unreferenced = nullptr;
};

// A counted reference to a domain. Empty: no such domain.
// Whatever points to a domain and outlives a hypercall holds one: frames owned (one reference for all of them, while
// there is any), mappings of its frames. Callable with any lock held: the last one only marks, reap_domains() frees.
void get_domain(Domain&); // the caller holds one already
void put_domain(Domain&);

class DomainRef {
public:
    DomainRef() = default;
    explicit DomainRef(Domain* already_counted) : domain_(already_counted) {}
    DomainRef(DomainRef&& other) noexcept : domain_(other.domain_) { other.domain_ = nullptr; }
    DomainRef& operator=(DomainRef&& other) noexcept {
        std::swap(domain_, other.domain_);
        return *this;
    }
    ~DomainRef() {
        // clang's analyzer takes a TRY that returns early for one with a value.
        if (domain_) // NOLINT(clang-analyzer-core.uninitialized.Branch)
            put_domain(*domain_);
    }
    explicit operator bool() const { return domain_ != nullptr; }
    Domain& operator*() const { return *domain_; }
    Domain* operator->() const { return domain_; }

private:
    Domain* domain_ = nullptr;
};

DomainRef find_domain(DomId); // dying ones are found too; DOMID_SELF is not resolved here
// DOMID_SELF is the caller's own domain. Err::Srch: no such domain; Err::Perm: another domain and the caller is not
// privileged.
Result<DomainRef> find_target(Domain& caller, u16 domid);
DomainRef first_domain(); // for walks in order of id: first_domain(), then next_domain(*d)
DomainRef next_domain(const Domain&);
Domain* dom0(); // nullptr before it is made

// Create a domain (paused, no vcpus, no memory) and enter it in the list. id: a free number or the one asked for.
struct DomainParameters {
    u16 id = DOMID_INVALID; // DOMID_INVALID: choose
    u32 max_vcpus = 1;
    u32 max_event_port = 1023;
    u32 max_grant_frames = 64, max_maptrack_frames = 1024, max_grant_version = 2;
    u8 handle[16] = {};
    bool privileged = false;
    i64 time_offset_seconds = 0;
};
// Err::Inval: a limit out of range; Err::Exist: that number is taken; Err::NoMem, Err::NoSpace (no number left).
Result<DomainRef> create_domain(const DomainParameters&);
Result<void> create_vcpu(Domain&, VcpuId);

// The vcpu_info of vcpus that have none yet (number 32 and up): masked, belongs to nobody.
extern vcpu_info_t unregistered_vcpu_info;

// Take back one pause by the controller; the first time that ends building, and the domain is alive.
// Err::Inval: the controller has not paused it.
Result<void> unpause_by_controller(Domain&);
// Undo a shutdown: the vcpus go on (domctl resumedomain). Nothing happens if it has not shut down, or dies.
void resume_domain(Domain&);
void shut_down_domain(Domain&,
                      u8 reason); // sched_op shutdown, or a crash by the hypervisor: all vcpus stop, VIRQ_DOM_EXC
void crash_domain(Domain&,
                  std::string_view why);     // failure policy step two: the reason goes to the log, then SHUTDOWN_crash
Result<void> destroy_domain(Call&, Domain&); // preemptible: Err::Restart until everything is given back

} // namespace domus::hv
