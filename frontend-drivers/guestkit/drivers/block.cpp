// See block.hpp.
#include "frontend-drivers/guestkit/drivers/block.hpp"

namespace domus::guest {
namespace {
constexpr usize sector_bytes = 512;
constexpr usize most_bytes = (BLKIF_MAX_SEGMENTS_PER_REQUEST - 1) * page_size; // wherever in a page it begins
constexpr u32 vdisk_readonly = 4; // VDISK_READONLY of the backend's node "info"
} // namespace

struct Disk::Pending : Link {
    explicit Pending(Scheduler& scheduler) : done(scheduler) {}
    Event done;
    bool ended = false;
    Err error{}; // Err{}: it was done
    blkif_request_t request{};
    void end(Err how) {
        leave();
        ended = true;
        error = how;
        done.notify();
    }
    Result<void> outcome() const { return error; }
};

Disk::Disk(Kit& kit, u32 id)
    : front_(kit, "vbd", id), platform_(kit.platform), grants_(kit.grants), event_(kit.platform.tasks),
      room_(kit.platform.tasks) {}

Task<Result<void>> Disk::connect() {
    CO_CHECK(co_await front_.begin());
    CO_LET(page, platform_.take_pages());
    ring_page_ = page;
    ring_ = {ring_page_, page_size};
    CO_LET(reference, grants_.lend(front_.backend(), ring_page_));
    ring_reference_ = reference;
    CO_LET(port, platform_.open_port(front_.backend(), event_));
    port_ = port;
    CO_CHECK(co_await front_.write("ring-ref", ring_reference_));
    CO_CHECK(co_await front_.write("event-channel", port_));
    CO_CHECK(co_await front_.write("protocol", std::string_view("x86_64-abi")));
    CO_CHECK(co_await front_.finish());
    CO_LET(sectors, co_await front_.backend_number("sectors"));
    sectors_ = sectors;
    sector_size_ = static_cast<u32>(co_await front_.backend_number("sector-size", sector_bytes));
    read_only_ = co_await front_.backend_number("info", 0) & vdisk_readonly;
    flushes_ = co_await front_.backend_number("feature-flush-cache", 0) == 1;
    connected_ = true;
    platform_.tasks.start(take_answers());
    platform_.tasks.start(watch_backend());
    co_return Result<void>();
}

Task<Result<void>> Disk::close() {
    while (!pending_.alone())
        co_await room_.wait();
    connected_ = false;
    event_.notify(); // ends take_answers()
    const auto closed = co_await front_.close();
    platform_.close_port(port_);
    CO_CHECK(grants_.take_back(ring_reference_)); // a page that the backend keeps is not used again
    platform_.give_page(ring_page_);
    co_return closed;
}

Task<void> Disk::watch_backend() {
    co_await front_.gone();
    end_all(Err::NoDev);
}

void Disk::end_all(Err why) {
    connected_ = false;
    while (!pending_.alone())
        static_cast<Pending&>(*pending_.next).end(why);
    event_.notify();
    room_.notify();
}

Task<void> Disk::take_answers() {
    while (connected_) {
        while (const auto answer = ring_.take()) {
            Link* at = pending_.next;
            while (at != &pending_ && static_cast<Pending*>(at)->request.id != answer->id)
                at = at->next;
            if (at == &pending_) // an answer to nothing: the backend can no longer be believed
                co_return end_all(Err::Io);
            const auto status = answer->status;
            static_cast<Pending*>(at)->end(status == BLKIF_RSP_OKAY         ? Err{}
                                           : status == BLKIF_RSP_EOPNOTSUPP ? Err::OpNotSupp
                                                                            : Err::Io);
            room_.notify();
        }
        if (ring_.broken())
            co_return end_all(Err::Io);
        if (!ring_.arm())
            co_await event_.wait();
    }
}

Result<void> Disk::fill(Pending& pending, const u8* memory, usize bytes) {
    auto& request = pending.request;
    const auto how = request.operation == BLKIF_OP_READ ? Lend::Writable : Lend::ReadOnly;
    while (bytes > 0) {
        const usize offset = reinterpret_cast<u64>(memory) & page_mask;
        const usize piece = bytes < page_size - offset ? bytes : page_size - offset;
        auto& segment = request.seg[request.nr_segments];
        segment.gref = TRY(grants_.lend(front_.backend(), memory, how));
        segment.first_sect = static_cast<u8>(offset / sector_bytes);
        segment.last_sect = static_cast<u8>((offset + piece) / sector_bytes - 1);
        ++request.nr_segments;
        memory += piece;
        bytes -= piece;
    }
    return {};
}

void Disk::release(Pending& pending) {
    for (unsigned i = 0; i < pending.request.nr_segments; ++i)
        if (!grants_.take_back(pending.request.seg[i].gref))
            platform_.say("disk: the backend keeps a page of a request that it answered\n");
}

Task<Result<void>> Disk::one_request(u8 operation, u64 sector, const u8* memory, usize bytes) {
    while (connected_ && ring_.full())
        co_await room_.wait();
    if (!connected_)
        co_return Err::NoDev;
    Pending pending(platform_.tasks);
    auto& request = pending.request;
    request.operation = operation;
    request.handle = static_cast<blkif_vdev_t>(front_.id());
    request.sector_number = sector;
    request.id = ++last_id_;
    if (const auto filled = fill(pending, memory, bytes); !filled) {
        release(pending);
        co_return filled.error();
    }
    pending.join_before(pending_);
    ring_.put(request);
    if (ring_.push())
        platform_.notify(port_);
    while (!pending.ended)
        co_await pending.done.wait();
    release(pending);
    co_return pending.outcome();
}

Task<Result<void>> Disk::transfer(u8 operation, u64 sector, const u8* memory, usize bytes) {
    if (bytes % sector_size_ != 0 || reinterpret_cast<u64>(memory) % sector_bytes != 0 || sector > sectors_ ||
        bytes / sector_bytes > sectors_ - sector)
        co_return Err::Inval;
    while (bytes > 0) {
        const usize piece = bytes < most_bytes ? bytes : most_bytes;
        CO_CHECK(co_await one_request(operation, sector, memory, piece));
        memory += piece;
        bytes -= piece;
        sector += piece / sector_bytes;
    }
    co_return Result<void>();
}

Task<Result<void>> Disk::read(u64 sector, std::span<u8> to) {
    return transfer(BLKIF_OP_READ, sector, to.data(), to.size());
}
Task<Result<void>> Disk::write(u64 sector, std::span<const u8> from) {
    if (read_only_)
        return []() -> Task<Result<void>> { co_return Err::RoFs; }();
    return transfer(BLKIF_OP_WRITE, sector, from.data(), from.size());
}
Task<Result<void>> Disk::flush() {
    if (!flushes_)
        return []() -> Task<Result<void>> { co_return Result<void>(); }();
    return one_request(BLKIF_OP_FLUSH_DISKCACHE, 0, nullptr, 0);
}

} // namespace domus::guest
