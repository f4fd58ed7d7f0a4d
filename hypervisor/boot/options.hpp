// The hypervisor's command line, with Xen's option names.
#pragma once

#include "hypervisor/core/log.hpp"
#include "hypervisor/core/unhooked_table.hpp"

#include <optional>

namespace domus::hv {

struct Options {
    u64 dom0_bytes = 0; // dom0_mem=, 0: all but what the hypervisor keeps
    u32 dom0_vcpus = 1; // dom0_max_vcpus=
    u32 baud = 115200;  // com1=BAUD[,8n1[,PORT]]
    u16 serial_port = 0x3f8;
    u32 extension = ~u32{0};    // extension=BITS: what of Domus' own interface is offered (DOMUS_FEATURE_*)
    bool superpages = true;     // superpages=0: no 2 MiB mappings for guests, whatever extension= says
    bool fast_syscall = true;   // fast-syscall=0: system calls always take the long way (arch/x86_64/fast_entry.S)
    bool fast_iret = true;      // fast-iret=0: the iret hypercall too
    bool fast_fault = true;     // fast-fault=0: page faults of guest user mode (fast_fault.S)
    bool fast_hypercall = true; // fast-hypercall=0: the frequent other hypercalls (fast_hypercall.S)
    u32 fast_tables = ~u32{0};  // fast-tables=BITS: which short ways page tables have (pv/table_ways.hpp)
    u32 unhook = unhook_after_default; // unhook=N: after N stray stores in a row (pv/unhooked.hpp); 0: never
    // erms=0|1: whether guests are told of fast byte moves; without it: as measured (pv/cpuid.cpp)
    std::optional<bool> erms;
    bool noreboot = false;
    Level log_level = Level::Info;      // loglvl=
    Level guest_level = Level::Warning; // guest_loglvl=
    char unknown[160] = {};             // options nobody knows, for a warning
};

Options parse_options(std::string_view command_line);

} // namespace domus::hv
