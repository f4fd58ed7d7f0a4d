// __HYPERVISOR_physdev_op: what a guest's kernel says about physical interrupts, I/O ports and PCI. Source:
// <xen/physdev.h>. Interrupts of devices are routed only where arch sets pirq_hooks; what is not there is refused with
// an errno that Linux takes for "not offered". Lock: none; iopl and the I/O bitmap belong to the current vcpu.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/core/pirq.hpp"

namespace domus::hv {
namespace {

constexpr u32 io_ports = 65536;

// ISOLATION, physical interrupts: range first. Numbers are GSIs: there is no other kind of pirq.
Result<void> check_pirq(const Call& call, u64 pirq) {
    if (pirq < max_pirqs)
        return {};
    why(call.domain, "physical interrupt {} is out of range ({} at most)", pirq, max_pirqs - 1);
    return Err::Inval;
}

// Virtual privilege of the current vcpu for I/O instructions; that the domain may reach a port is judged elsewhere.
Result<void> op_set_iopl(Call& call, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<physdev_set_iopl_t>()));
    if (request.iopl > 3)
        return Err::Inval;
    call.vcpu.pv.iopl = static_cast<u8>(request.iopl);
    return {};
}

Result<void> op_set_iobitmap(Call& call, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<physdev_set_iobitmap_t>()));
    if (request.nr_ports > io_ports)
        return Err::Inval;
    call.vcpu.pv.io_bitmap = guest_ptr(request.bitmap).address;
    call.vcpu.pv.io_ports = request.nr_ports;
    return {};
}

Result<void> op_eoi(Call& call, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<physdev_eoi_t>()));
    return check_pirq(call, request.irq);
}

Result<void> op_irq_status(Call& call, GuestPtr<void> argument) {
    auto request = TRY(copy_in(argument.as<physdev_irq_status_query_t>()));
    TRY(check_pirq(call, request.irq));
    request.flags = 0; // edges: nothing is to be acknowledged by hypercall
    return copy_out(argument.as<physdev_irq_status_query_t>(), request);
}

Result<void> only_dom0(const Call& call) {
    if (call.domain.privileged)
        return {};
    return Err::Perm;
}

Result<void> op_map_pirq(Call& call, GuestPtr<void> argument) {
    auto request = TRY(copy_in(argument.as<physdev_map_pirq_t>()));
    TRY(only_dom0(call));
    if (request.domid != DOMID_SELF && request.domid != call.domain.id.n)
        return Err::NoSys; // devices of other domains: passed through nowhere
    if (request.type != MAP_PIRQ_TYPE_GSI)
        return Err::NoSys; // message-signalled interrupts: drivers fall back to lines
    if (request.pirq < 0)
        request.pirq = request.index;
    if (request.index < 0 || request.pirq != request.index)
        return Err::Inval; // a line keeps its own number
    TRY(check_pirq(call, static_cast<u32>(request.index)));
    return copy_out(argument.as<physdev_map_pirq_t>(), request);
}

Result<void> op_unmap_pirq(Call& call, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<physdev_unmap_pirq_t>()));
    TRY(only_dom0(call));
    return check_pirq(call, static_cast<u64>(static_cast<i64>(request.pirq)));
}

Result<void> op_setup_gsi(Call& call, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<physdev_setup_gsi_t>()));
    TRY(only_dom0(call));
    return check_pirq(call, static_cast<u64>(static_cast<i64>(request.gsi)));
}

// dom0 tells what it found on the bus. Nothing is kept: no device is passed through, so nobody asks for it.
template <class Told>
Result<void> op_told(Call&, GuestPtr<void> argument) {
    TRY(copy_in(argument.as<Told>()));
    return {};
}

struct PciAdded { // physdev_pci_device_add ends in an array of no fixed length
    u16 segment;
    u8 bus, function;
    u32 flags;
};

constexpr char not_kept[] = "accepted: nothing is kept, no device is passed through";
constexpr char obsolete[] = "obsolete";

constexpr Operation<Result<void> (*)(Call&, GuestPtr<void>)> physdev_ops[] = {
    OFFERED(PHYSDEVOP_irq_status_query, op_irq_status, Guest),
    OFFERED(PHYSDEVOP_set_iopl, op_set_iopl, Guest),
    OFFERED(PHYSDEVOP_set_iobitmap, op_set_iobitmap, Guest),
    REFUSED(PHYSDEVOP_apic_read, NoSys, Guest, "the I/O APIC is the hypervisor's; Linux makes up values of its own"),
    REFUSED(PHYSDEVOP_apic_write, NoSys, Guest, "the I/O APIC is the hypervisor's; Linux makes up values of its own"),
    REFUSED(PHYSDEVOP_alloc_irq_vector, NoSys, Guest, obsolete),
    REFUSED(PHYSDEVOP_free_irq_vector, NoSys, Guest, obsolete),
    OFFERED(PHYSDEVOP_eoi, op_eoi, Guest),
    OFFERED_WITH(PHYSDEVOP_map_pirq, op_map_pirq, Guest, "EPERM but for dom0; lines only, no messages (MSI)"),
    OFFERED_WITH(PHYSDEVOP_unmap_pirq, op_unmap_pirq, Guest, "EPERM but for dom0"),
    OFFERED_WITH(PHYSDEVOP_manage_pci_add, op_told<physdev_manage_pci_t>, Dom0, not_kept),
    OFFERED_WITH(PHYSDEVOP_manage_pci_remove, op_told<physdev_manage_pci_t>, Dom0, not_kept),
    REFUSED(PHYSDEVOP_pirq_eoi_gmfn_v1, NoSys, Guest, "interrupts need no acknowledgement by hypercall"),
    REFUSED(PHYSDEVOP_restore_msi, NoSys, Guest, "no message-signalled interrupts"),
    OFFERED_WITH(PHYSDEVOP_manage_pci_add_ext, op_told<physdev_manage_pci_ext_t>, Dom0, not_kept),
    OFFERED_WITH(PHYSDEVOP_setup_gsi, op_setup_gsi, Guest, "EPERM but for dom0"),
    REFUSED(PHYSDEVOP_get_free_pirq, NoSys, Guest, "no message-signalled interrupts"),
    OFFERED_WITH(PHYSDEVOP_pci_mmcfg_reserved, op_told<physdev_pci_mmcfg_reserved_t>, Dom0, not_kept),
    OFFERED_WITH(PHYSDEVOP_pci_device_add, op_told<PciAdded>, Dom0, not_kept),
    OFFERED_WITH(PHYSDEVOP_pci_device_remove, op_told<physdev_pci_device_t>, Dom0, not_kept),
    REFUSED(PHYSDEVOP_restore_msi_ext, NoSys, Guest, "no message-signalled interrupts"),
    REFUSED(PHYSDEVOP_pirq_eoi_gmfn_v2, NoSys, Guest, "interrupts need no acknowledgement by hypercall"),
    REFUSED(PHYSDEVOP_dbgp_op, NoSys, Guest, "no debug port of the hypervisor's"),
    OFFERED_WITH(PHYSDEVOP_prepare_msix, op_told<physdev_pci_device_t>, Dom0, not_kept),
    OFFERED_WITH(PHYSDEVOP_release_msix, op_told<physdev_pci_device_t>, Dom0, not_kept),
};

} // namespace

Result<i64> physdev_op(Call& call, u32 command, GuestPtr<void> argument) {
    const auto* row = find_operation(physdev_ops, command);
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    TRY(row->run(call, argument));
    return i64{0};
}

const OperationList physdev_operations(physdev_ops);

} // namespace domus::hv
