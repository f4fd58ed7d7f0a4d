// Plain structures of the typed client, in the units people use. Filled by Hypervisor; no behaviour of their own.
// Sources of the fields: xen/domctl.h, xen/sysctl.h (interface version 0x15).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace domus::client {

using Uuid = std::array<std::uint8_t, 16>;

/// What createdomain needs for a PV guest.
struct DomainSpec {
    Uuid uuid{};
    unsigned vcpus = 1;
    std::uint32_t max_event_channels = 1023; ///< highest port number the guest may use
    int max_grant_frames = 64;               ///< -1: the hypervisor's default
    int max_maptrack_frames = 1024;          ///< -1: the hypervisor's default
    std::uint16_t domid = 0;                 ///< 0: the hypervisor chooses
};

enum class ShutdownReason : std::uint8_t {
    poweroff = 0,
    reboot = 1,
    suspend = 2,
    crash = 3,
    watchdog = 4,
    soft_reset = 5
};

struct DomainInfo {
    std::uint16_t domid = 0;
    Uuid uuid{};
    bool dying = false, hvm = false, shutdown = false, paused = false, blocked = false, running = false,
         debugged = false;
    std::uint8_t shutdown_code = 0; ///< ShutdownReason, or 255; valid when `shutdown`
    std::uint64_t pages = 0, max_pages = 0, outstanding_pages = 0;
    std::uint64_t shared_info_frame = 0;
    std::uint64_t cpu_time_ns = 0;
    std::uint32_t online_vcpus = 0;
    std::uint32_t vcpus = 0; ///< highest vcpu number + 1; 0 before the vcpus are made
    std::uint32_t cpupool = 0;
};

struct VcpuInfo {
    bool online = false, blocked = false, running = false;
    std::uint64_t cpu_time_ns = 0;
    std::uint32_t cpu = 0;
};

struct SchedulerParams {
    std::uint16_t weight = 256;
    std::uint16_t cap = 0; ///< percent of one CPU; 0: none
};

struct PhysInfo {
    std::uint32_t threads_per_core = 1, cores_per_socket = 1, cpus = 1, max_cpu_id = 0, nodes = 1, cpu_khz = 0;
    std::uint32_t capabilities = 0; ///< XEN_SYSCTL_PHYSCAP_*
    std::uint64_t total_pages = 0, free_pages = 0, scrub_pages = 0, outstanding_pages = 0, max_mfn = 0;
    std::array<std::uint32_t, 8> hw_cap{};
};

struct VersionInfo {
    unsigned major = 0, minor = 0;
    std::string extra; ///< "-pre", ".4"
    std::string compiler, compile_by, compile_domain, compile_date;
    std::string capabilities; ///< "xen-3.0-x86_64 ..."
    std::string changeset, command_line, build_id;
    std::uint64_t virt_start = 0;
    std::uint32_t page_size = 4096;
};

/// One performance counter; several values when the counter is an array (per hypercall number, per vector).
struct Counter {
    std::string name;
    std::vector<std::uint32_t> values;
};

/// Part of the hypervisor's console ring.
struct ConsoleText {
    std::string text;
    std::uint32_t next_index = 0; ///< pass it back to read only what came since
};

} // namespace domus::client
