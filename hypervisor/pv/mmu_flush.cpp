// Translation flushes that guests ask for. See mmu_flush.hpp.
#include "hypervisor/pv/mmu_flush.hpp"

#include "hypervisor/core/domain.hpp"

namespace domus::hv {

arch::CpuMask this_cpu_mask() {
    return arch::CpuMask{1} << arch::this_cpu().n;
}

Result<arch::CpuMask> cpus_of_vcpus(Domain& domain, GuestPtr<const void> bitmap) {
    std::array<u8, max_vcpus_per_domain / 8> bits{};
    TRY(copy_in_bytes(bits.data(), bitmap.address, (domain.max_vcpus + 7) / 8));
    arch::CpuMask cpus = 0;
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (const Vcpu* vcpu = domain.vcpu(i); vcpu && (bits[i / 8] >> (i % 8) & 1))
            cpus |= arch::CpuMask{1} << vcpu->processor.load(std::memory_order_relaxed);
    }
    return cpus & (domain.dirty_cpus.load(std::memory_order_acquire) | this_cpu_mask());
}

void flush_for_guest(Domain& domain, arch::CpuMask cpus) {
    count(domain, Count::TlbFlushes);
    if (cpus != 0)
        arch::flush_all(cpus);
}

// ISOLATION, TLB: INVLPG only with an address that the guest can name.
void flush_address_for_guest(Domain& domain, arch::CpuMask cpus, Vaddr address) {
    count(domain, Count::TlbFlushes);
    if (cpus != 0 && arch::is_guest_range(address, 1))
        arch::flush_page(cpus, address);
}

} // namespace domus::hv
