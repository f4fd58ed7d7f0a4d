// The real seam: libxencall for hypercalls and their buffers, libxenforeignmemory for mappings. See raw.hpp.
#include "hypervisor/client/raw.hpp"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

extern "C" { // these headers say so nowhere themselves
#include <xencall.h>
#include <xenforeignmemory.h>
}

#include "hypervisor/client/error.hpp"

namespace domus::client {
namespace {

class XenRaw final : public Raw {
public:
    XenRaw()
        : call_(xencall_open(nullptr, XENCALL_OPENFLAG_NON_REENTRANT)), memory_(xenforeignmemory_open(nullptr, 0)) {
        if (!call_ || !memory_) {
            const int reason = errno ? errno : ENODEV;
            close();
            throw Error("open /dev/xen/privcmd", std::nullopt, reason);
        }
    }
    XenRaw(const XenRaw&) = delete;
    XenRaw& operator=(const XenRaw&) = delete;
    ~XenRaw() override { close(); }

    long hypercall(unsigned op, const std::array<std::uint64_t, 5>& a) override {
        // Only the two-argument call has a variant that returns a long; it carries every operation with large answers.
        const bool two = a[2] == 0 && a[3] == 0 && a[4] == 0;
        const long answer = two ? xencall2L(call_, op, a[0], a[1]) : xencall5(call_, op, a[0], a[1], a[2], a[3], a[4]);
        return answer < 0 ? -static_cast<long>(errno) : answer;
    }

    void* allocate(std::size_t bytes) override {
        void* memory = xencall_alloc_buffer(call_, bytes);
        if (!memory) {
            throw Error("allocate a hypercall buffer", std::nullopt, errno ? errno : ENOMEM,
                        "dom0 is out of memory: give it more with dom0_mem= or stop programs in it");
        }
        return std::memset(memory, 0, bytes);
    }

    void release(void* memory, std::size_t) noexcept override { xencall_free_buffer(call_, memory); }

    void* map_foreign(std::uint16_t domid, int protection, std::span<const std::uint64_t> frames,
                      std::span<int> errors) override {
        return xenforeignmemory_map(memory_, domid, protection, frames.size(), frames.data(), errors.data());
    }

    void unmap_foreign(void* address, std::size_t pages) noexcept override {
        xenforeignmemory_unmap(memory_, address, pages);
    }

private:
    void close() noexcept {
        if (call_) {
            xencall_close(call_);
        }
        if (memory_) {
            xenforeignmemory_close(memory_);
        }
    }

    xencall_handle* call_;
    xenforeignmemory_handle* memory_;
};

} // namespace

std::shared_ptr<Raw> open_raw() {
    return std::make_shared<XenRaw>();
}

} // namespace domus::client
