// See dom0.hpp.
#include "tests/bus/dom0.hpp"

#include "hypervisor/client/error.hpp"

#include <cstring>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

namespace domus::bus {

using client::Error;

bool EventDevice::deliver() {
    bool any = false;
    auto& shared = *dom0.shared;
    for (u32 word = 0; word < 64; ++word) {
        while (const u64 ready = shared.evtchn_pending[word] & ~shared.evtchn_mask[word]) {
            const u32 bit = static_cast<u32>(__builtin_ctzl(ready)), port = word * 64 + bit;
            shared.evtchn_pending[word] &= ~(u64{1} << bit);
            any = true;
            if (const auto owner = owners.find(port); owner != owners.end()) {
                shared.evtchn_mask[word] |= u64{1} << bit; // until unmask()
                owner->second->arrived(port);
            }
        }
    }
    return any;
}

EventFile::EventFile(EventDevice& device) : device_(device), ready_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

EventFile::~EventFile() {
    while (!ports_.empty())
        unbind(*ports_.begin());
    ::close(ready_);
}

std::uint32_t EventFile::own(std::uint32_t port) {
    device_.dom0.shared->evtchn_mask[port / 64] &= ~(u64{1} << port % 64);
    ports_.insert(port);
    device_.owners[port] = this;
    return port;
}

std::uint32_t EventFile::bind(std::uint16_t domid, std::uint32_t remote_port) {
    evtchn_bind_interdomain_t op{domid, remote_port, 0};
    if (const auto error = device_.machine.events(device_.dom0, EVTCHNOP_bind_interdomain, &op))
        throw Error(fmt::format("bind to port {}", remote_port), domid, static_cast<int>(-error));
    device_.trace(fmt::format("dom0    bind port {} to domain {}'s port {}", op.local_port, domid, remote_port));
    return own(op.local_port);
}

std::uint32_t EventFile::bind_unbound(std::uint16_t remote) {
    evtchn_alloc_unbound_t op{DOMID_SELF, remote, 0};
    if (const auto error = device_.machine.events(device_.dom0, EVTCHNOP_alloc_unbound, &op))
        throw Error("allocate a port", remote, static_cast<int>(-error));
    return own(op.port);
}

std::uint32_t EventFile::bind_virq(std::uint32_t virq) {
    evtchn_bind_virq_t op{virq, 0, 0};
    if (const auto error = device_.machine.events(device_.dom0, EVTCHNOP_bind_virq, &op))
        throw Error("bind a virtual interrupt", std::nullopt, static_cast<int>(-error));
    return own(op.port);
}

void EventFile::unbind(std::uint32_t port) noexcept {
    evtchn_close_t op{port};
    device_.machine.events(device_.dom0, EVTCHNOP_close, &op);
    device_.owners.erase(port);
    ports_.erase(port);
    std::erase(queue_, port);
}

void EventFile::notify(std::uint32_t port) {
    evtchn_send_t op{port};
    if (const auto error = device_.machine.events(device_.dom0, EVTCHNOP_send, &op))
        throw Error(fmt::format("notify port {}", port), std::nullopt, static_cast<int>(-error));
    device_.trace(fmt::format("dom0    notify port {}", port));
}

void EventFile::arrived(std::uint32_t port) {
    queue_.push_back(port);
    ::eventfd_write(ready_, 1);
}

std::optional<std::uint32_t> EventFile::pending() {
    if (queue_.empty()) {
        eventfd_t count = 0;
        ::eventfd_read(ready_, &count);
        return {};
    }
    const auto port = queue_.front();
    queue_.pop_front();
    return port;
}

void EventFile::unmask(std::uint32_t port) {
    evtchn_unmask_t op{port};
    device_.machine.events(device_.dom0, EVTCHNOP_unmask, &op);
}

u8* reserve(std::size_t pages) {
    void* area = ::mmap(nullptr, pages * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return static_cast<u8*>(area);
}

void show(u8* address, Mfn frame, bool writable) {
    // Of shared memory, a move of nothing gives a second mapping of the same page.
    if (::mremap(hv::arch::frame_pointer(frame), 0, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, address) == MAP_FAILED)
        throw Error("map a frame", std::nullopt, errno);
    if (!writable)
        ::mprotect(address, page_size, PROT_READ);
}

void unview(void* address, std::size_t pages) noexcept {
    ::munmap(address, pages * page_size);
}

BackendGrants::BackendGrants(Machine& machine, Domain& dom0, Faults& faults, Trace trace)
    : machine_(machine), dom0_(dom0), faults_(faults), trace_(std::move(trace)), bounce_(machine.page(dom0)) {}

BackendGrants::~BackendGrants() {
    EXPECT_EQ(handles_.size(), 0u) << "pages that a backend still has mapped at the end";
}

std::int16_t BackendGrants::map_one(std::uint16_t domid, std::uint32_t reference, u8* address, bool writable) {
    gnttab_map_grant_ref_t op{.host_addr = reinterpret_cast<u64>(address),
                              .flags = GNTMAP_host_map | (writable ? 0u : GNTMAP_readonly),
                              .ref = reference,
                              .dom = domid};
    if (faults_.refuse_maps != 0) {
        --faults_.refuse_maps;
        machine_.map_error = Err::Fault;
    }
    const auto error = machine_.grants(dom0_, GNTTABOP_map_grant_ref, &op);
    machine_.map_error = Err{};
    const std::int16_t status = error ? std::int16_t{GNTST_general_error} : op.status;
    trace_(fmt::format("dom0    map domain {}'s grant {}: status {}", domid, reference, status));
    if (status == GNTST_okay) {
        handles_[reinterpret_cast<std::uintptr_t>(address)] = op.handle;
        // The fake page tables have an entry now; the process sees the same page there.
        show(address, Mfn(machine_.entries.at(u64{dom0_.id.n} << 48 | op.host_addr).frame), writable);
    }
    return status;
}

void* BackendGrants::map(std::uint16_t domid, std::span<const std::uint32_t> references, bool writable) {
    u8* area = reserve(references.size());
    for (std::size_t i = 0; i < references.size(); ++i) {
        if (map_one(domid, references[i], area + i * page_size, writable) != GNTST_okay) {
            unmap(area, i);
            ::munmap(area, references.size() * page_size);
            throw Error(fmt::format("map grant {}", references[i]), domid, EINVAL);
        }
    }
    return area;
}

void BackendGrants::unmap(void* address, std::size_t pages) noexcept {
    for (std::size_t i = 0; i < pages; ++i) {
        const auto at = reinterpret_cast<std::uintptr_t>(address) + i * page_size;
        unview(reinterpret_cast<void*>(at), 1);
        gnttab_unmap_grant_ref_t op{.host_addr = at, .dev_bus_addr = 0, .handle = handles_.at(at)};
        machine_.grants(dom0_, GNTTABOP_unmap_grant_ref, &op);
        EXPECT_EQ(op.status, GNTST_okay);
        handles_.erase(at);
        trace_(fmt::format("dom0    unmap handle {}", op.handle));
    }
}

void BackendGrants::copy(std::uint16_t domid, std::span<client::GrantCopy> pieces) {
    for (auto& piece : pieces)
        copy_one(domid, piece);
}

void BackendGrants::copy_one(std::uint16_t domid, client::GrantCopy& piece) {
    if (faults_.refuse_copies != 0) {
        --faults_.refuse_copies;
        piece.status = GNTST_general_error;
        return;
    }
    gnttab_copy_t op{};
    auto& guest = piece.to_guest ? op.dest : op.source;
    auto& local = piece.to_guest ? op.source : op.dest;
    guest.u.ref = piece.reference;
    guest.domid = domid;
    guest.offset = piece.offset;
    local.u.gmfn = bounce_.n;
    local.domid = DOMID_SELF;
    local.offset = static_cast<u16>(reinterpret_cast<std::uintptr_t>(piece.local) & page_mask);
    op.len = piece.length;
    op.flags = piece.to_guest ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
    u8* bounce = hv::arch::frame_pointer(bounce_) + local.offset;
    const bool fits = local.offset + piece.length <= page_size;
    if (piece.to_guest && fits)
        std::memcpy(bounce, piece.local, piece.length);
    const auto error = machine_.grants(dom0_, GNTTABOP_copy, &op);
    piece.status = error ? i16{GNTST_general_error} : op.status;
    if (!piece.to_guest && piece.status == GNTST_okay)
        std::memcpy(piece.local, bounce, piece.length);
    trace_(fmt::format("dom0    copy {} bytes {} domain {}'s grant {}: {}", piece.length,
                       piece.to_guest ? "to" : "from", domid, piece.reference, piece.status));
}

std::vector<xenstore::tree::DomainState> StorePlatform::domains() {
    std::vector<xenstore::tree::DomainState> all{{0, false, false}};
    for (const auto& [id, domain] : domains_)
        all.push_back({id, false, false});
    return all;
}

std::unique_ptr<xenstore::server::RingPage> StorePlatform::map(std::uint16_t domid, std::uint64_t frame) {
    struct Page final : xenstore::server::RingPage {
        void* address;
        explicit Page(void* a) : address(a) {}
        ~Page() override { unview(address, 1); }
        xenstore_domain_interface& ring() override { return *static_cast<xenstore_domain_interface*>(address); }
    };
    if (!exists(domid))
        throw boost::system::system_error(ESRCH, boost::system::generic_category(), "no such domain");
    u8* address = reserve(1);
    show(address, Mfn(frame), true);
    return std::make_unique<Page>(address);
}

} // namespace domus::bus
