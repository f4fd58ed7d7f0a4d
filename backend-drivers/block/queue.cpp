// See queue.hpp.
#include "backend-drivers/block/queue.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <new>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "backend-drivers/common/ring_server.hpp"
#include "hypervisor/client/error.hpp"

namespace domus::block {
namespace {

/// What a barrier does; an empty one only the last.
constexpr std::array barrier_steps{Kind::Flush, Kind::Write, Kind::Flush};

} // namespace

/// A request on its way, with the pages for its data. Kept and used again.
struct Queue::Job final : Io {
    ~Job() override { std::free(buffer); }
    void done(int error) override {
        const auto kept = std::move(queue); // may be the last owner of the queue, and so of this
        if (error != 0) {
            status = error == -EOPNOTSUPP ? BLKIF_RSP_EOPNOTSUPP : BLKIF_RSP_ERROR;
        }
        kept->completed(*this);
    }
    void need(std::size_t bytes) {
        if (bytes > capacity) {
            std::free(buffer);
            capacity = (bytes + page_size - 1) / page_size * page_size;
            buffer = static_cast<std::uint8_t*>(std::aligned_alloc(page_size, capacity));
            if (buffer == nullptr) {
                capacity = 0;
                throw std::bad_alloc();
            }
        }
    }

    blkif_request_t slot;
    Request request;
    std::int16_t status = BLKIF_RSP_OKAY;
    bool finished = false;
    std::size_t steps = 0;        ///< of a barrier: how many were begun
    std::shared_ptr<Queue> queue; ///< while the medium works on it
    std::uint8_t* buffer = nullptr;
    std::size_t capacity = 0;
    std::uint8_t* place = nullptr; ///< where its data lies on the medium, when that is memory: `buffer` is not used
    alignas(512) std::array<blkif_request_segment, most_segments> indirect; // crosses no page
};

Queue::Queue(backend::Device& device, unsigned number, const QueueNodes& nodes, std::shared_ptr<Storage> storage,
             std::shared_ptr<Journal> journal, Counts counts, bool resumed)
    : device_(device), domid_(device.id().domid), number_(number), executor_(device.executor()),
      grants_(device.access().grants), storage_(std::move(storage)), journal_(std::move(journal)), counts_(counts),
      pages_(grants_, domid_, nodes.pages), port_(device.access().events, domid_, nodes.port),
      freed_(device.executor()), idle_(device.executor()) {
    const auto at = resumed ? Ring::shown_in(pages_.data()) : 0;
    ring_ = Ring(pages_.data(), pages_.size(), at, at);
    port_.count(counts_.ring);
    counts_.ring.note(ring_);
    if (resumed) {
        first_ = journal_->at(number_, at);
    }
}

Queue::~Queue() = default;

void Queue::start() {
    const auto self = shared_from_this();
    asio::co_spawn(device_.executor(), backend::serve_ring(ring_, port_, *this),
                   [self](const std::exception_ptr& failure) {
                       if (!failure || !self->open_) {
                           return;
                       }
                       try {
                           std::rethrow_exception(failure);
                       } catch (const std::exception& error) {
                           self->device_.fail(error.what());
                       }
                   });
    port_.notify(); // an event that came while nobody had the port bound is lost
}

void Queue::stop() {
    open_ = false;
    port_.close();
    freed_.notify();
    ring_ = Ring();
    pages_.reset();
}

asio::awaitable<void> Queue::drained() {
    while (running_ != 0) {
        co_await idle_.wait();
    }
}

std::unique_ptr<Queue::Job> Queue::new_job() {
    if (spare_.empty()) {
        return std::make_unique<Job>();
    }
    auto job = std::move(spare_.back());
    spare_.pop_back();
    return job;
}

void Queue::accept(Ring& ring) {
    auto job = new_job();
    ring.take(job->slot);
    if (first_) {
        job->slot = *std::exchange(first_, std::nullopt);
    }
    job->finished = false;
    job->status = parse(job->slot, job->request);
    if (job->request.barrier) {
        barrier_ = job.get();
        job->steps = job->request.kind == Kind::Flush ? barrier_steps.size() - 1 : 0;
    }
    counts_.ring.note(ring);
    batch_.push_back(job.get());
    flight_.push_back(std::move(job));
}

/// serve_ring() has taken what there was, or what there is room for.
void Queue::end_batch(Ring& ring) {
    (void)ring;
    if (batch_.empty()) {
        return;
    }
    counts_.batches.add();
    read_indirect();
    for (Job* job : batch_) {
        if (job->status == BLKIF_RSP_OKAY) {
            job->status = check(job->request, storage_->medium());
        }
    }
    copy_in();
    for (Job* job : std::exchange(batch_, {})) {
        if (job != barrier_ || job->status != BLKIF_RSP_OKAY) {
            run(*job);
        }
    }
    storage_->submit();
    go_on_with_barrier();
}

/// The barrier's next step, if nothing is under way any more. After each, finish() comes here again.
void Queue::go_on_with_barrier() {
    if (barrier_ == nullptr || barrier_->finished || running_ != 0) {
        return;
    }
    ++running_;
    barrier_->queue = shared_from_this();
    start(*barrier_, barrier_steps[barrier_->steps++]);
    storage_->submit();
}

/// The arrays of segments that indirect requests have in pages of their own: copied once, all of the batch together.
void Queue::read_indirect() {
    for (Job* job : batch_) {
        const Request& request = job->request;
        if (job->status == BLKIF_RSP_OKAY && request.indirect_count != 0) {
            client::GrantCopy piece;
            piece.reference = request.indirect_reference;
            piece.length = static_cast<std::uint16_t>(request.indirect_count * sizeof(blkif_request_segment));
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
        const bool data = request.kind == Kind::Read || request.kind == Kind::Write;
        job->place = nullptr;
        if (job->status == BLKIF_RSP_OKAY && data) {
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
    for (const auto& segment : std::span(job.request.segments.data(), job.request.segment_count)) {
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

void Queue::run(Job& job) {
    ++running_;
    job.queue = shared_from_this();
    if (job.status != BLKIF_RSP_OKAY || job.place != nullptr) {
        job.done(0);
        return;
    }
    start(job, job.request.kind);
}

void Queue::start(Job& job, Kind kind) {
    job.kind = kind;
    job.offset = job.request.offset;
    job.length = job.request.length;
    job.data = job.buffer;
    storage_->start(job);
}

/// Answers of one turn of the io_context are given together.
void Queue::completed(Job& job) {
    job.finished = &job != barrier_ || job.status != BLKIF_RSP_OKAY || job.steps == barrier_steps.size();
    if (--running_ == 0) {
        idle_.notify();
    }
    if (job.status == BLKIF_RSP_OKAY && job.request.kind == Kind::Read) {
        reads_done_.push_back(&job);
    }
    if (!std::exchange(finish_posted_, true)) {
        asio::post(executor_, [self = shared_from_this()] { self->finish(); });
    }
}

void Queue::finish() {
    finish_posted_ = false;
    if (!open_) {
        return;
    }
    try {
        copy_out();
        answer();
        go_on_with_barrier();
    } catch (const std::exception& error) {
        device_.fail(error.what());
    }
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

void Queue::answer() {
    bool notify = false;
    const bool was_full = !room();
    while (!flight_.empty() && flight_.front()->finished) {
        auto job = std::move(flight_.front());
        flight_.pop_front();
        const Request& request = job->request;
        blkif_response_t response{};
        response.id = request.id;
        response.operation = request.operation;
        response.status = job->status;
        journal_->answering(number_, ring_.produced(), job->slot);
        ring_.put(response);
        notify |= ring_.publish(); // each by itself: the journal has room for one
        if (job.get() == barrier_) {
            barrier_ = nullptr;
        }
        count(*job);
        spare_.push_back(std::move(job));
    }
    counts_.ring.note(ring_);
    if (notify) {
        port_.notify();
    }
    if (was_full && room()) {
        freed_.notify();
    }
}

void Queue::count(const Job& job) {
    const Request& request = job.request;
    if (job.status != BLKIF_RSP_OKAY) {
        counts_.errors.add();
    } else if (request.kind == Kind::Read) {
        counts_.reads.add();
        counts_.read_bytes.add(request.length);
    } else if (request.kind == Kind::Write) {
        counts_.writes.add();
        counts_.written_bytes.add(request.length);
        counts_.flushes.add(request.barrier ? 1 : 0);
    } else {
        (request.kind == Kind::Flush ? counts_.flushes : counts_.discards).add();
    }
}

} // namespace domus::block
