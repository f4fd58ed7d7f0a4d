// The builder's sequence of steps. See build.hpp; each step is a file of its own beside this one.
#include "toolstack/build/build.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "hypervisor/client/mappings.hpp"
#include "toolstack/build/image_cache.hpp"
#include "toolstack/build/page_tables.hpp"
#include "toolstack/build/start.hpp"

namespace domus::build {

using client::ForeignMap;
using client::Hypervisor;

namespace {

constexpr std::uint64_t page = client::page_size;
constexpr unsigned big_order = 9; // 2 MiB: one entry of a populate list, and one hypervisor allocation, for 512 frames
constexpr std::uint64_t big_frames = 1u << big_order;

ImageCache& cache() {
    const char* elsewhere = std::getenv("DOMUS_IMAGE_CACHE");
    static ImageCache instance(elsewhere ? elsewhere : "/var/cache/domus");
    return instance;
}

void check(const Request& request) {
    if (request.cmdline.size() >= MAX_GUEST_CMDLINE) {
        throw Error(fmt::format("the kernel command line has {} bytes; at most {} reach a PV guest: shorten extra=",
                                request.cmdline.size(), MAX_GUEST_CMDLINE - 1));
    }
    if (request.memory_kib < page / 1024 || request.memory_kib > std::uint64_t{1} << 34) {
        throw Error(fmt::format("memory of {} KiB cannot be given to a guest", request.memory_kib));
    }
    if (request.vcpus == 0) {
        throw Error("a guest needs at least one vcpu: set vcpus=1 or more");
    }
}

/// Runs an operation that an older or smaller hypervisor may not have and a guest can live without.
template <class Operation>
void if_offered(Operation operation) {
    try {
        operation();
    } catch (const client::Error& error) {
        if (error.code() != ENOSYS && error.code() != EOPNOTSUPP) {
            throw;
        }
    }
}

/// Gives the guest its memory, in big pieces while there are any. Returns its frame list.
std::vector<std::uint64_t> populate(Hypervisor& hypervisor, const Request& request, std::uint64_t pages) {
    std::vector<std::uint64_t> frames(pages);
    std::vector<std::uint64_t> extents(pages / big_frames);
    for (std::uint64_t i = 0; i < extents.size(); ++i) {
        extents[i] = i * big_frames;
    }
    std::uint64_t done = 0;
    try {
        const std::uint64_t big = extents.empty() ? 0 : hypervisor.populate(request.domid, extents, big_order);
        for (; done < big * big_frames; ++done) {
            frames[done] = extents[done / big_frames] + done % big_frames;
        }
    } catch (const client::Error& error) {
        if (error.code() != ENOMEM) { // memory in pieces too small: the single frames below may still do
            throw;
        }
    }
    for (std::uint64_t i = done; i < pages; ++i) {
        frames[i] = i;
    }
    const std::span<std::uint64_t> rest(frames.data() + done, pages - done);
    const std::uint64_t got = done + (rest.empty() ? 0 : hypervisor.populate(request.domid, rest, 0));
    if (got < pages) {
        throw Error(fmt::format("too little free memory: the guest needs {} MiB, and only {} MiB could be given to it; "
                                "lower memory= or free some with mem-set or shutdown of another domain",
                                pages * page >> 20, got * page >> 20));
    }
    return frames;
}

/// Everything the steps share.
class Builder {
public:
    Builder(Hypervisor& hypervisor, const Request& request, const image::Kernel& kernel, std::uint64_t ramdisk_bytes)
        : hypervisor_(hypervisor), request_(request), kernel_(kernel), ramdisk_bytes_(ramdisk_bytes),
          layout_(lay_out(kernel, request.memory_kib * 1024 / page, ramdisk_bytes)) {}

    void give_memory() {
        hypervisor_.set_max_vcpus(request_.domid, request_.vcpus);
        const std::uint64_t limit = std::max(request_.max_memory_kib, request_.memory_kib);
        hypervisor_.set_max_memory(request_.domid, limit);
        if_offered([&] { hypervisor_.set_tsc_native(request_.domid); });
        if_offered([&] { hypervisor_.set_memory_map(request_.domid, limit); });
        frames_ = populate(hypervisor_, request_, layout_.pages);
    }

    void load_kernel(image::Bytes elf) {
        const ForeignMap memory = map(layout_.kernel);
        const std::uint64_t base = layout_.kernel.first * page;
        std::vector<image::Segment> segments(kernel_.loaded().begin(), kernel_.loaded().end());
        std::sort(segments.begin(), segments.end(),
                  [](const auto& a, const auto& b) { return a.physical_address < b.physical_address; });
        std::uint64_t filled = 0; // bytes of the mapping that are final; what is between segments becomes zero
        for (const image::Segment& segment : segments) {
            const std::uint64_t start = segment.physical_address - base;
            std::memset(memory.data() + filled, 0, start - filled);
            std::memcpy(memory.data() + start, elf.data() + segment.file_offset, segment.file_size);
            filled = start + segment.file_size;
        }
        std::memset(memory.data() + filled, 0, memory.size() - filled);
    }

    void load_ramdisk(const File& file) {
        const ForeignMap memory = map(layout_.ramdisk);
        const std::span<std::uint8_t> bytes(memory.data(), memory.size());
        read_whole(file, bytes.first(ramdisk_bytes_), *request_.ramdisk_path);
        std::memset(bytes.data() + ramdisk_bytes_, 0, bytes.size() - ramdisk_bytes_);
    }

    /// Page tables, frame list and ring pages. Their writable mappings are gone when this returns, as pinning demands.
    void write_tables(std::uint64_t shared_info_frame) {
        const Run rings{layout_.start_info, 3};
        static_assert(sizeof(start_info_t) <= page);
        const ForeignMap pages = map(rings); // start_info, store, console
        std::memset(pages.data(), 0, pages.size());
        fill_start_info(*pages.as<start_info_t>(), layout_, request_, frames_, shared_info_frame, ramdisk_bytes_);

        const ForeignMap list = map(layout_.p2m);
        std::memcpy(list.data(), frames_.data(), frames_.size() * sizeof frames_[0]);
        const std::uint64_t used = frames_.size() * sizeof frames_[0];
        std::memset(list.data() + used, 0xff, list.size() - used); // no frame

        const ForeignMap tables = map(layout_.tables);
        const ForeignMap list_tables = map(layout_.p2m_tables);
        fill_page_tables(layout_, frames_, {tables.as<Table>(), layout_.tables.count},
                         {list_tables.as<Table>(), layout_.p2m_tables.count});
    }

    void make_runnable() {
        hypervisor_.pin_l4(request_.domid, frames_[layout_.tables.first]);
        if (kernel_.hypercall_page) {
            const std::uint64_t pfn = (*kernel_.hypercall_page - layout_.virt_base) / page;
            hypervisor_.init_hypercall_page(request_.domid, frames_.at(pfn));
        }
        hypervisor_.set_vcpu_context(request_.domid, 0, first_context(layout_, kernel_, frames_));
    }

    Result offer() {
        const Result result{.store_mfn = frames_[layout_.store],
                            .console_mfn = frames_[layout_.console],
                            .store_gref = GNTTAB_RESERVED_XENSTORE,
                            .console_gref = GNTTAB_RESERVED_CONSOLE};
        const auto table = hypervisor_.grant_table_frames(request_.domid, 1);
        const ForeignMap grants(hypervisor_.raw(), request_.domid, table);
        offer_rings({grants.as<grant_entry_v1_t>(), grants.size() / sizeof(grant_entry_v1_t)}, request_, result);
        return result;
    }

private:
    ForeignMap map(Run run) const {
        return {hypervisor_.raw(), request_.domid, std::span(frames_).subspan(run.first, run.count)};
    }

    Hypervisor& hypervisor_;
    const Request& request_;
    const image::Kernel& kernel_;
    std::uint64_t ramdisk_bytes_;
    Layout layout_;
    std::vector<std::uint64_t> frames_; // pseudo-physical to machine
};

/// Masks the guest's events and tells where its shared info is.
std::uint64_t prepare_shared_info(Hypervisor& hypervisor, std::uint16_t domid) {
    const auto info = hypervisor.domain_info(domid);
    if (!info) {
        throw client::Error("build", domid, ESRCH);
    }
    const std::uint64_t frame[] = {info->shared_info_frame};
    const ForeignMap shared(hypervisor.raw(), domid, frame);
    mask_events(*shared.as<shared_info_t>());
    return info->shared_info_frame;
}

} // namespace

Result build_pv_domain(Hypervisor& hypervisor, const Request& request,
                       std::function<void(std::string_view stage)> progress) {
    const auto stage = [&](std::string_view name) {
        if (progress) {
            progress(name);
        }
    };
    check(request);
    const auto image = cache().load(request.kernel_path, stage);
    File ramdisk;
    struct stat status {};
    if (request.ramdisk_path) {
        ramdisk = open_input(*request.ramdisk_path, "RAM disk", status);
    }
    Builder builder(hypervisor, request, image->kernel, static_cast<std::uint64_t>(status.st_size));
    stage("allocating memory");
    builder.give_memory();
    stage("loading kernel");
    builder.load_kernel(image->elf);
    if (ramdisk) {
        stage("loading RAM disk");
        builder.load_ramdisk(ramdisk);
    }
    stage("building page tables");
    builder.write_tables(prepare_shared_info(hypervisor, request.domid));
    builder.make_runnable();
    return builder.offer();
}

} // namespace domus::build
