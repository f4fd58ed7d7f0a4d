// The tables of hypercalls and their sub-operations, for docs/hypercalls.md. Each is defined next to its table.
#pragma once

#include "hypervisor/core/operations.hpp"

namespace domus::hv {

extern const OperationList hypercalls;           // boot/hypercall_table.cpp
extern const OperationList memory_operations;    // core/memory_op.cpp
extern const OperationList event_operations;     // core/events_ops.cpp
extern const OperationList grant_operations;     // core/grant_ops.cpp
extern const OperationList scheduler_operations; // core/sched_op.cpp
extern const OperationList vcpu_operations;      // core/vcpu_op.cpp
extern const OperationList version_operations;   // core/version.cpp
extern const OperationList console_operations;   // core/console_io.cpp
extern const OperationList physdev_operations;   // core/physdev_op.cpp
extern const OperationList platform_operations;  // core/platform_op.cpp
extern const OperationList mca_operations;       // core/mca.cpp
extern const OperationList control_operations;   // core/domctl.cpp
extern const OperationList system_operations;    // core/sysctl.cpp
extern const OperationList extension_operations; // core/extension.cpp
extern const OperationList mmu_operations;       // pv/mmu_ext.cpp
extern const OperationList callback_operations;  // pv/callbacks.cpp
extern const OperationList nmi_operations;       // pv/callbacks.cpp

} // namespace domus::hv
