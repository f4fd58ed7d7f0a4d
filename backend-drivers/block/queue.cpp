// See queue.hpp.
#include "backend-drivers/block/queue.hpp"

#include <array>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "backend-drivers/block/job.hpp"
#include "backend-drivers/common/ring_server.hpp"

namespace domus::block {
namespace {

/// What a barrier does; an empty one only the last.
constexpr std::array barrier_steps{Kind::Flush, Kind::Write, Kind::Flush};

} // namespace

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
    if (nodes.persistent) {
        persistent_.emplace(grants_, domid_, ring_.size() * persistent_per_entry, nodes.persistent, counts_.grants);
        direct_ = storage_->takes_parts();
    }
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
    reads_done_.clear();
    flight_.clear();
    persistent_.reset();
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
    hold_pages();
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
    job.parts = {};
    if (job.direct && kind != Kind::Flush) {
        job.parts = job.gather();
        if (job.parts.size() == 1) {
            job.data = static_cast<std::uint8_t*>(job.parts[0].iov_base);
            job.parts = {};
        }
    }
    storage_->start(job);
}

/// Answers of one turn of the io_context are given together.
void Queue::completed(Job& job) {
    job.finished = &job != barrier_ || job.status != BLKIF_RSP_OKAY || job.steps == barrier_steps.size();
    if (--running_ == 0) {
        idle_.notify();
    }
    if (job.status == BLKIF_RSP_OKAY && job.request.kind == Kind::Read && !job.direct) {
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
        job->let_go();
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
    counts_.direct.add(job.direct ? 1 : 0);
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
