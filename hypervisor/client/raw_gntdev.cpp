// The real grant device: libxengnttab on /dev/xen/gntdev, and /dev/xen/gntalloc for memory of our own. See grants.hpp.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <sys/mman.h>

#include <fmt/format.h>
extern "C" { // these headers say so nowhere themselves
#include <xengnttab.h>
#include <xentoollog.h>
}
#include <xen/grant_table.h>

#include "hypervisor/client/error.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::client {
namespace {

class XenGrants final : public Grants {
public:
    // What is refused is told by Error alone: a guest that names bad grants writes no log.
    XenGrants() : quiet_(xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0)), handle_(xengnttab_open(log(), 0)) {
        if (!handle_) {
            throw Error("open /dev/xen/gntdev", std::nullopt, errno ? errno : ENODEV);
        }
    }
    XenGrants(const XenGrants&) = delete;
    XenGrants& operator=(const XenGrants&) = delete;
    ~XenGrants() override {
        xengnttab_close(handle_);
        if (own_pages_) {
            xengntshr_close(own_pages_);
        }
        xtl_logger_destroy(log());
    }

    void* map(std::uint16_t domid, std::span<const std::uint32_t> references, bool writable) override {
        references_.assign(references.begin(), references.end()); // the library wants them writable
        void* address = xengnttab_map_domain_grant_refs(handle_, static_cast<std::uint32_t>(references_.size()), domid,
                                                        references_.data(), PROT_READ | (writable ? PROT_WRITE : 0));
        if (!address) {
            throw Error(fmt::format("map {} grants from reference {}", references.size(),
                                    references.empty() ? 0 : references[0]),
                        domid, errno ? errno : EINVAL, "the domain granted no such page to this one");
        }
        return address;
    }

    void unmap(void* address, std::size_t pages) noexcept override {
        xengnttab_unmap(handle_, address, static_cast<std::uint32_t>(pages));
    }

    void copy(std::uint16_t domid, std::span<GrantCopy> pieces) override {
        segments_.resize(pieces.size());
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            segments_[i] = segment(domid, pieces[i]);
        }
        if (xengnttab_grant_copy(handle_, static_cast<std::uint32_t>(segments_.size()), segments_.data()) != 0) {
            throw Error(fmt::format("copy {} pieces of granted pages", pieces.size()), domid, errno ? errno : EINVAL);
        }
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            pieces[i].status = segments_[i].status;
        }
    }

    void open_own_memory() override {
        if (!own_pages_) {
            own_pages_ = xengntshr_open(nullptr, 0);
        }
    }

    void set_own_domain(std::uint16_t domid) override { own_domain_ = domid; }

    void* allocate(std::size_t pages) override {
        Own own{.references = std::vector<std::uint32_t>(pages)};
        // Refused when the kernel's limit is reached: /sys/module/xen_gntalloc/parameters/limit.
        void* memory = own_pages_ ? xengntshr_share_pages(own_pages_, own_domain_, static_cast<int>(pages),
                                                          own.references.data(), 1)
                                  : nullptr;
        if (!memory) {
            return Grants::allocate(pages);
        }
        std::memset(memory, 0, pages * page_size);
        own.begin = reinterpret_cast<std::uintptr_t>(memory);
        owns_.push_back(std::move(own));
        return memory;
    }

    void release(void* memory, std::size_t pages) noexcept override {
        const auto own = std::find_if(owns_.begin(), owns_.end(), [&](const Own& candidate) {
            return candidate.begin == reinterpret_cast<std::uintptr_t>(memory);
        });
        if (own == owns_.end()) {
            Grants::release(memory, pages);
            return;
        }
        owns_.erase(own);
        last_ = 0;
        xengntshr_unshare(own_pages_, memory, static_cast<std::uint32_t>(pages));
    }

private:
    /// Memory that this domain granted to itself.
    struct Own {
        std::uintptr_t begin = 0;
        std::vector<std::uint32_t> references; ///< of its pages
        bool has(std::uintptr_t address) const { return address - begin < references.size() * page_size; }
    };

    /// nullptr: other memory. Pieces of a batch are mostly in the same.
    const Own* own_with(std::uintptr_t address) {
        if (last_ < owns_.size() && owns_[last_].has(address)) {
            return &owns_[last_];
        }
        for (last_ = 0; last_ < owns_.size(); ++last_) {
            if (owns_[last_].has(address)) {
                return &owns_[last_];
            }
        }
        return nullptr;
    }

    xengnttab_grant_copy_segment_t segment(std::uint16_t domid, const GrantCopy& piece) {
        xengnttab_grant_copy_segment_t out{};
        auto& foreign = (piece.to_guest ? out.dest : out.source).foreign;
        auto& local = piece.to_guest ? out.source : out.dest;
        foreign.ref = piece.reference;
        foreign.offset = piece.offset;
        foreign.domid = domid;
        out.len = piece.length;
        out.flags = piece.to_guest ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
        const auto address = reinterpret_cast<std::uintptr_t>(piece.local);
        if (const Own* own = own_with(address)) {
            local.foreign.ref = own->references[(address - own->begin) / page_size];
            local.foreign.offset = static_cast<std::uint16_t>(address % page_size);
            local.foreign.domid = own_domain_;
            out.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
        } else {
            local.virt = piece.local;
        }
        return out;
    }

    xentoollog_logger* log() const { return reinterpret_cast<xentoollog_logger*>(quiet_); }

    xentoollog_logger_stdiostream* quiet_; ///< none: the library makes one that writes all
    xengnttab_handle* handle_;
    xengntshr_handle* own_pages_ = nullptr; ///< none: no /dev/xen/gntalloc, or the own domain is not known
    std::uint16_t own_domain_ = 0;
    std::vector<Own> owns_;
    std::size_t last_ = 0; ///< which of them was used last
    std::vector<std::uint32_t> references_;
    std::vector<xengnttab_grant_copy_segment_t> segments_;
};

} // namespace

std::shared_ptr<Grants> open_grants() {
    return std::make_shared<XenGrants>();
}

} // namespace domus::client
