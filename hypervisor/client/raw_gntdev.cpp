// The real grant device: libxengnttab on /dev/xen/gntdev. See grants.hpp.
#include <cerrno>
#include <vector>

#include <sys/mman.h>

#include <fmt/format.h>
extern "C" { // these headers say so nowhere themselves
#include <xengnttab.h>
}
#include <xen/grant_table.h>

#include "hypervisor/client/error.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::client {
namespace {

class XenGrants final : public Grants {
public:
    XenGrants() : handle_(xengnttab_open(nullptr, 0)) {
        if (!handle_) {
            throw Error("open /dev/xen/gntdev", std::nullopt, errno ? errno : ENODEV);
        }
    }
    XenGrants(const XenGrants&) = delete;
    XenGrants& operator=(const XenGrants&) = delete;
    ~XenGrants() override { xengnttab_close(handle_); }

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

private:
    static xengnttab_grant_copy_segment_t segment(std::uint16_t domid, const GrantCopy& piece) {
        xengnttab_grant_copy_segment_t out{};
        auto& foreign = piece.to_guest ? out.dest.foreign : out.source.foreign;
        (piece.to_guest ? out.source.virt : out.dest.virt) = piece.local;
        foreign.ref = piece.reference;
        foreign.offset = piece.offset;
        foreign.domid = domid;
        out.len = piece.length;
        out.flags = piece.to_guest ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
        return out;
    }

    xengnttab_handle* handle_;
    std::vector<std::uint32_t> references_;
    std::vector<xengnttab_grant_copy_segment_t> segments_;
};

} // namespace

std::shared_ptr<Grants> open_grants() {
    return std::make_shared<XenGrants>();
}

} // namespace domus::client
