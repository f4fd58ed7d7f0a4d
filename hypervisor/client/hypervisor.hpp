// The hypervisor as C++ sees it: one typed member per operation that the toolstack, the builder and the daemons use.
// Owner: one per process, shared by reference. No lock: used by one thread. Every member throws client::Error.
// It hides no policy: what to do with a domain is decided above (toolstack/engine).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hypervisor/client/error.hpp"
#include "hypervisor/client/raw.hpp"
#include "hypervisor/client/types.hpp"

struct vcpu_guest_context; // xen/arch-x86/xen.h

namespace domus::client {

class Hypervisor {
public:
    /// Opens /dev/xen/privcmd.
    Hypervisor();
    /// Stands on another seam (tests).
    explicit Hypervisor(std::shared_ptr<Raw> raw);

    // -- domains (domctl) ------------------------------------------------------------------------------------
    /// Makes an empty, paused PV domain (createdomain). Returns its number.
    std::uint16_t create_domain(const DomainSpec& spec);
    /// Ends a domain and gives back its memory; asks again while the hypervisor says EAGAIN, EBUSY or ERESTART.
    void destroy_domain(std::uint16_t domid);
    void pause(std::uint16_t domid);
    void unpause(std::uint16_t domid);
    /// Makes the vcpus; the number must be the one given to create_domain. Asking twice is harmless.
    void set_max_vcpus(std::uint16_t domid, unsigned vcpus);
    /// Upper bound on the domain's memory, in KiB.
    void set_max_memory(std::uint16_t domid, std::uint64_t kib);
    /// nullopt: no such domain.
    std::optional<DomainInfo> domain_info(std::uint16_t domid);
    /// All domains from number `first` on, in order.
    std::vector<DomainInfo> domains(std::uint16_t first = 0);
    void set_vcpu_context(std::uint16_t domid, unsigned vcpu, const vcpu_guest_context& context);
    vcpu_guest_context vcpu_context(std::uint16_t domid, unsigned vcpu);
    VcpuInfo vcpu_info(std::uint16_t domid, unsigned vcpu);
    /// Binds a vcpu to the CPUs whose bits are set (hard affinity; little-endian bit map). Returns what is in force.
    std::vector<std::uint8_t> set_vcpu_affinity(std::uint16_t domid, unsigned vcpu, std::vector<std::uint8_t> cpus);
    std::vector<std::uint8_t> vcpu_affinity(std::uint16_t domid, unsigned vcpu, unsigned max_cpus);
    /// Writes the hypercall stubs into a frame of the domain.
    void init_hypercall_page(std::uint16_t domid, std::uint64_t frame);
    /// rdtsc runs natively (tsc_mode=native); call it before the domain first runs.
    void set_tsc_native(std::uint16_t domid);
    SchedulerParams scheduler_params(std::uint16_t domid);
    void set_scheduler_params(std::uint16_t domid, const SchedulerParams& params);
    /// Types of frames: replaces each entry by XEN_DOMCTL_PFINFO_* bits.
    void frame_types(std::uint16_t domid, std::span<std::uint64_t> frames);
    /// Sends virtual interrupt `virq` of the domain's events to this domain (VIRQ_DOM_EXC and the like).
    void set_virq_handler(std::uint16_t domid, unsigned virq);

    // -- memory ----------------------------------------------------------------------------------------------
    /// Gives the domain memory. `frames` holds the pseudo-physical base of each extent of 2^order pages and gets its
    /// machine base. The machine-to-physical table is set too (memory.h). Returns how many extents were given, from
    /// the first on; fewer than asked means out of memory or over the limit.
    std::size_t populate(std::uint16_t domid, std::span<std::uint64_t> frames, unsigned order);
    /// Takes extents back. Returns how many.
    std::size_t decrease_reservation(std::uint16_t domid, std::span<const std::uint64_t> frames, unsigned order);
    /// Sets memory aside so that a build cannot fail half-way; 0 cancels.
    void claim(std::uint16_t domid, std::uint64_t pages);
    std::uint64_t current_reservation(std::uint16_t domid); ///< pages
    std::uint64_t maximum_reservation(std::uint16_t domid); ///< pages
    /// The memory map the guest will read: RAM from 0 to `kib`.
    void set_memory_map(std::uint16_t domid, std::uint64_t kib);

    // -- page tables of another domain ------------------------------------------------------------------------
    void pin_l4(std::uint16_t domid, std::uint64_t frame);
    void unpin(std::uint16_t domid, std::uint64_t frame);
    struct MachineToPhys {
        std::uint64_t mfn, pfn;
    };
    void update_machine_to_phys(std::uint16_t domid, std::span<const MachineToPhys> updates);

    // -- events and grants of another domain ------------------------------------------------------------------
    /// A port of `domid` that domain `remote` may bind to.
    std::uint32_t alloc_unbound(std::uint16_t domid, std::uint16_t remote);
    /// Machine frames of the domain's grant table (GNTTABOP_setup_table), `count` from the first.
    std::vector<std::uint64_t> grant_table_frames(std::uint16_t domid, unsigned count);

    // -- the machine (sysctl, version) -------------------------------------------------------------------------
    PhysInfo physinfo();
    std::uint64_t available_heap_bytes();
    unsigned scheduler_id();
    /// The hypervisor's own log. `from` : index of an earlier call, or nullopt for all that is kept.
    ConsoleText read_console(std::optional<std::uint32_t> from = std::nullopt, bool clear = false);
    /// Counters of the whole machine; empty when the hypervisor counts nothing.
    std::vector<Counter> counters();
    void reset_counters();
    void debug_keys(const std::string& keys);
    VersionInfo version();

    const std::shared_ptr<Raw>& raw() const { return raw_; }

private:
    std::shared_ptr<Raw> raw_;
};

} // namespace domus::client
