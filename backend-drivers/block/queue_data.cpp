// How a queue's data goes between the guest's pages and the medium. See queue.hpp.
#include <algorithm>
#include <cstring>

#include <spdlog/spdlog.h>

#include "backend-drivers/block/job.hpp"
#include "hypervisor/client/error.hpp"

namespace domus::block {
namespace {

bool moves_data(const Request& request) {
    return request.kind == Kind::Read || request.kind == Kind::Write;
}

} // namespace

/// The arrays of segments that indirect requests have in pages of their own: copied once, all of the batch together.
void Queue::read_indirect() {
    for (Job* job : batch_) {
        const Request& request = job->request;
        if (job->status != BLKIF_RSP_OKAY || request.indirect_count == 0) {
            continue;
        }
        const std::size_t bytes = request.indirect_count * sizeof(blkif_request_segment);
        if (const auto page = persistent_ ? persistent_->hold(request.indirect_reference) : PersistentGrants::Hold()) {
            std::memcpy(job->indirect.data(), page.page(), bytes);
        } else {
            client::GrantCopy piece;
            piece.reference = request.indirect_reference;
            piece.length = static_cast<std::uint16_t>(bytes);
            piece.local = job->indirect.data();
            pieces_.push_back(piece);
            piece_jobs_.push_back(job);
        }
    }
    copy_pieces();
    for (Job* job : batch_) {
        if (job->status == BLKIF_RSP_OKAY && job->request.indirect_count != 0) {
            job->status = add_segments(std::span(job->indirect.data(), job->request.indirect_count), job->request);
        }
    }
}

/// Finds the pages that are mapped, and maps those that are not, if the frontend uses its grants again.
void Queue::hold_pages() {
    if (!persistent_) {
        return;
    }
    if (!hold_pages_of_batch()) {
        persistent_->keep(missing_);
        hold_pages_of_batch();
    }
}

/// True: nothing was missing.
bool Queue::hold_pages_of_batch() {
    missing_.clear();
    for (Job* job : batch_) {
        Request& request = job->request;
        job->direct = false;
        if (job->status != BLKIF_RSP_OKAY || !moves_data(request)) {
            continue;
        }
        for (std::size_t i = 0; i < request.segment_count; ++i) {
            if (!job->pages[i]) {
                job->pages[i] = persistent_->hold(request.segments[i].reference);
            }
            if (!job->pages[i]) {
                missing_.push_back(request.segments[i].reference);
            }
        }
        if (request.indirect_count != 0 && !persistent_->hold(request.indirect_reference)) {
            missing_.push_back(request.indirect_reference);
        }
        job->direct = direct_ && job->all_mapped();
    }
    return missing_.empty();
}

void Queue::copy_in() {
    try {
        collect_in(true);
    } catch (const client::Error&) { // a medium in memory became shorter: start() shall say so
        collect_in(false);
    }
}

void Queue::collect_in(bool in_place) {
    pieces_.clear();
    piece_jobs_.clear();
    for (Job* job : batch_) {
        const Request& request = job->request;
        job->place = nullptr;
        if (job->status == BLKIF_RSP_OKAY && moves_data(request) && !job->direct) {
            const bool at_once = in_place && !request.barrier;
            job->place = at_once ? storage_->bytes(request.offset, request.length) : nullptr;
            if (job->place == nullptr) {
                job->need(request.length);
            }
            if (request.kind == Kind::Write) {
                add_pieces(*job, false);
            }
        }
    }
    copy_pieces();
}

void Queue::add_pieces(const Job& job, bool to_guest) {
    std::uint8_t* local = job.place != nullptr ? job.place : job.buffer;
    for (std::size_t i = 0; i < job.request.segment_count; ++i) {
        const Segment& segment = job.request.segments[i];
        if (job.pages[i] && job.place == nullptr) { // a medium in memory is never touched here: mapped_file.hpp
            std::uint8_t* theirs = job.pages[i].page() + segment.offset;
            std::memcpy(to_guest ? theirs : local, to_guest ? local : theirs, segment.length);
            local += segment.length;
            continue;
        }
        for (std::uint16_t done = 0; done < segment.length;) {
            const std::size_t room = page_size - reinterpret_cast<std::uintptr_t>(local) % page_size;
            client::GrantCopy piece;
            piece.reference = segment.reference;
            piece.offset = static_cast<std::uint16_t>(segment.offset + done);
            piece.length = static_cast<std::uint16_t>(std::min<std::size_t>(room, segment.length - done));
            piece.local = local;
            piece.to_guest = to_guest;
            pieces_.push_back(piece);
            piece_jobs_.push_back(const_cast<Job*>(&job));
            local += piece.length;
            done = static_cast<std::uint16_t>(done + piece.length);
        }
    }
}

void Queue::copy_pieces() {
    if (!pieces_.empty()) {
        grants_->copy(domid_, pieces_);
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            if (pieces_[i].status != GNTST_okay) {
                piece_jobs_[i]->status = BLKIF_RSP_ERROR; // a grant that is none, or not for this way
            }
        }
    }
    pieces_.clear();
    piece_jobs_.clear();
}

void Queue::copy_out() {
    for (const Job* job : reads_done_) {
        add_pieces(*job, true);
    }
    try {
        copy_pieces();
    } catch (const client::Error&) { // a medium in memory became shorter: whose part is gone is found one by one
        copy_out_singly();
    }
    reads_done_.clear();
}

void Queue::copy_out_singly() {
    for (Job* job : reads_done_) {
        pieces_.clear();
        piece_jobs_.clear();
        try {
            add_pieces(*job, true);
            copy_pieces();
        } catch (const client::Error&) {
            job->status = BLKIF_RSP_ERROR;
        }
    }
    pieces_.clear();
    piece_jobs_.clear();
}

/// The kernel does not let the medium work on the guest's pages: here and from now on their data is copied.
void Queue::start_indirectly(Job& job, int refused) {
    if (std::exchange(direct_, false)) {
        spdlog::info("domain {}: a disk's medium does not take the guest's pages themselves ({}): data is copied",
                     domid_, std::strerror(refused));
    }
    job.direct = false;
    job.queue = shared_from_this();
    job.need(job.request.length);
    if (job.request.kind == Kind::Write) {
        add_pieces(job, false);
    }
    start(job, job.kind);
    storage_->submit();
}

} // namespace domus::block
