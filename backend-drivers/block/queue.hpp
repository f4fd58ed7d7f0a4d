// One ring of a disk: takes requests, moves their data, a batch at a time, and answers in order.
// Owner: Disk, shared with the operations under way. No lock, one io_context.
// Data is copied into pages of this process, so that the guest cannot change or take away what the medium works on. Not
// so with persistent grants: there the medium works on the guest's pages where it can, and a guest that changes them
// meanwhile changes its own data. A barrier is a flush, its write and another flush, begun when nothing else is under
// way in its ring. In order: then rsp_prod alone tells a new process which requests are still to be served
// (docs/block.md).
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "backend-drivers/block/journal.hpp"
#include "backend-drivers/block/persistent_grants.hpp"
#include "backend-drivers/block/storage.hpp"
#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/port.hpp"
#include "backend-drivers/common/ring.hpp"
#include "backend-drivers/common/stats.hpp"

namespace domus::block {

namespace asio = boost::asio;
using Ring = backend::BackRing<blkif_request_t, blkif_response_t>;

/// Requests of one queue under way; further ones wait in the ring.
inline constexpr std::size_t most_in_flight = 32;

/// What a frontend says of one queue. The numbers are the guest's: mapping and binding check them.
struct QueueNodes {
    std::vector<std::uint32_t> pages;
    std::uint32_t port = 0;
    PersistentGrants::Room persistent; ///< of both sides agreed on: what may be mapped; otherwise none
};

struct Counts {
    backend::Stats::Value reads, writes, flushes, discards, errors, read_bytes, written_bytes, batches, direct, grants;
    backend::RingFigures ring;
};

class Queue : public std::enable_shared_from_this<Queue> {
public:
    /// Maps and binds. `resumed`: goes on where an earlier process was. Throws client::Error: nothing is left then.
    Queue(backend::Device& device, unsigned number, const QueueNodes& nodes, std::shared_ptr<Storage> storage,
          std::shared_ptr<Journal> journal, Counts counts, bool resumed);
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    ~Queue();

    /// Serves until stop(). When it cannot go on, Device::fail() is told why.
    void start();
    /// Takes and answers nothing more, unmaps. Operations under way end by themselves.
    void stop();
    /// Until no operation is under way; nothing of the guest's is mapped then.
    asio::awaitable<void> drained();

    // For serve_ring().
    bool room() const { return flight_.size() < most_in_flight && barrier_ == nullptr; }
    backend::Signal& freed() { return freed_; }
    void accept(Ring& ring);
    void end_batch(Ring& ring);

private:
    struct Job;
    void read_indirect();
    void hold_pages();
    bool hold_pages_of_batch();
    void copy_in();
    void collect_in(bool in_place);
    void run(Job& job);
    void start(Job& job, Kind kind);
    void start_indirectly(Job& job, int refused);
    void go_on_with_barrier();
    void completed(Job& job);
    void finish();
    void copy_out();
    void copy_out_singly();
    void answer();
    void add_pieces(const Job& job, bool to_guest);
    void copy_pieces();
    void count(const Job& job);
    std::unique_ptr<Job> new_job();

    backend::Device& device_;
    const std::uint16_t domid_;
    const unsigned number_;
    asio::any_io_executor executor_; ///< the device may be gone when the last operation ends
    std::shared_ptr<client::Grants> grants_;
    std::shared_ptr<Storage> storage_;
    std::shared_ptr<Journal> journal_;
    Counts counts_;
    client::GrantMap pages_;
    backend::Port port_;
    Ring ring_;
    std::optional<blkif_request_t> first_; ///< overwritten in the ring by an earlier process
    backend::Signal freed_, idle_;
    std::optional<PersistentGrants> persistent_; ///< outlives the jobs, which hold pages of it
    std::deque<std::unique_ptr<Job>> flight_;    ///< in the ring's order
    std::vector<std::unique_ptr<Job>> spare_;
    std::vector<Job*> batch_, reads_done_;
    std::vector<client::GrantCopy> pieces_;
    std::vector<Job*> piece_jobs_; ///< whose piece each is
    std::vector<std::uint32_t> missing_;
    Job* barrier_ = nullptr; ///< the last one taken, until it is answered: nothing more is taken meanwhile
    std::size_t running_ = 0;
    bool open_ = true, finish_posted_ = false, direct_ = false;
};

} // namespace domus::block
