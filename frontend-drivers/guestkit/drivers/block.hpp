// A disk: the frontend of blkif (<xen/io/blkif.h>) with direct segments on a ring of one page. Works with any blkback.
// Owner: the guest. No lock: one vcpu; any number of tasks may have requests under way, each waits for its own.
// Errors: Io (the medium), OpNotSupp, NoDev (the backend closed the device), Inval (beyond the disk, not whole
// sectors).
#pragma once

#include "frontend-drivers/guestkit/drivers/frontend.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"

#include <xen/io/blkif.h>

#include <span>

namespace domus::guest {

class Disk {
public:
    // The disk's id in xenstore (Frontend::find(kit, "vbd")).
    Disk(Kit& kit, u32 id);

    Task<Result<void>> connect();
    // Waits for requests under way, then gives the disk back.
    Task<Result<void>> close();

    u64 sectors() const { return sectors_; }         // of 512 bytes
    u32 sector_size() const { return sector_size_; } // the backend's: what reads and writes must be multiples of
    bool read_only() const { return read_only_; }

    // Whole sectors to and from memory of the guest (a static object, pages of the platform), aligned to 512 bytes.
    Task<Result<void>> read(u64 sector, std::span<u8> to);
    Task<Result<void>> write(u64 sector, std::span<const u8> from);
    // Returns when all that was written is on the medium. A backend without a cache needs none: then it does nothing.
    Task<Result<void>> flush();

private:
    struct Pending; // one request under way, in the frame of the task that waits

    Task<Result<void>> transfer(u8 operation, u64 sector, const u8* memory, usize bytes);
    Task<Result<void>> one_request(u8 operation, u64 sector, const u8* memory, usize bytes);
    Result<void> fill(Pending& pending, const u8* memory, usize bytes);
    void release(Pending& pending);
    Task<void> take_answers();
    Task<void> watch_backend();
    void end_all(Err why);

    Frontend front_;
    Platform& platform_;
    GrantTable& grants_;
    FrontRing<blkif_request_t, blkif_response_t> ring_;
    u8* ring_page_ = nullptr;
    u32 ring_reference_ = 0, port_ = 0;
    Event event_, room_;
    Link pending_;
    u64 last_id_ = 0, sectors_ = 0;
    u32 sector_size_ = 512;
    bool connected_ = false, read_only_ = false, flushes_ = false;
};

} // namespace domus::guest
