// The PV domain builder: fills an empty domain with a kernel, a RAM disk and everything the interface promises a guest
// at its first instruction (xen.h, "Start-of-day memory layout"). Called by toolstack/engine between create_domain and
// unpause. It owns nothing afterwards. It must not touch xenstore, devices or the domain's life: if it throws, the
// caller destroys the domain.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "hypervisor/client/hypervisor.hpp"

namespace domus::build {

/// What to build. The domain exists and is paused; its two event channels are allocated.
struct Request {
    std::uint16_t domid = 0;
    std::string kernel_path;                            ///< bzImage (xz, zstd, lz4, gzip or plain payload) or ELF
    std::optional<std::string> ramdisk_path;            ///< handed over as it is
    std::string cmdline;                                ///< at most 1023 bytes
    std::uint64_t memory_kib = 0;                       ///< given at once; rounded down to pages
    std::uint64_t max_memory_kib = 0;                   ///< bound for ballooning; less than memory_kib means memory_kib
    unsigned vcpus = 1;                                 ///< as given to create_domain
    std::uint32_t store_evtchn = 0, console_evtchn = 0; ///< ports of the new domain
    std::uint16_t store_domid = 0, console_domid = 0;   ///< who serves xenstore and the console
};

/// What xenstore and the console daemon must know.
struct Result {
    std::uint64_t store_mfn = 0, console_mfn = 0;
    std::uint32_t store_gref = 0, console_gref = 0;
};

/// A guest that cannot be built as asked: what() says which file, note, offset or size is wrong and what to change.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Builds the domain: vcpus, memory limit, native TSC, memory map, memory, kernel, RAM disk, page tables, grants, vcpu
/// 0. Unpacked kernels are kept in /var/cache/domus, or where the environment's DOMUS_IMAGE_CACHE says. `progress` is
/// told each stage as it begins. Throws build::Error for a bad request or image, client::Error for a refused hypercall.
Result build_pv_domain(client::Hypervisor& hypervisor, const Request& request,
                       std::function<void(std::string_view stage)> progress);

} // namespace domus::build
