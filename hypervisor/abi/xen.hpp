// The one door to Xen's public headers (libxen-dev). Nothing else includes <xen/...> in the hypervisor.
// Interface version: 4.17 (domctl and sysctl 0x15). Header-only; depends on nothing.
#pragma once

#define __XEN_TOOLS__ 1

#include <stddef.h>
#include <stdint.h>

#include <xen/xen.h>

#include <xen/arch-x86/xen-mca.h>
#include <xen/arch-x86/xen.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/errno.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/io/console.h>
#include <xen/memory.h>
#include <xen/nmi.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/trace.h>
#include <xen/vcpu.h>
#include <xen/version.h>

static_assert(XEN_DOMCTL_INTERFACE_VERSION == 0x15);
static_assert(XEN_SYSCTL_INTERFACE_VERSION == 0x15);
static_assert(sizeof(shared_info_t) <= 4096);
static_assert(sizeof(vcpu_info_t) == 64);
static_assert(sizeof(trap_info_t) == 16);
static_assert(sizeof(mmu_update_t) == 16);
static_assert(sizeof(multicall_entry_t) == 64);
static_assert(sizeof(cpu_user_regs_t) == 200);
