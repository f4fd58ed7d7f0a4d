// A guest's disk: what is offered, and the queues while a frontend is connected. Owner: its Device. No lock, one
// io_context. The medium is open from offer() or resume() to disconnect().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/cancellation_signal.hpp>

#include "backend-drivers/block/queue.hpp"
#include "backend-drivers/block/storage.hpp"
#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/signal.hpp"
#include "backend-drivers/common/stats.hpp"

namespace domus::block {

inline constexpr const char* device_type = "domus-vbd";
/// Pages of a ring: 2 to the power of this.
inline constexpr unsigned most_ring_order = 2;

/// What the toolstack's node "mode" says. Without one: no.
bool may_write(const std::optional<std::string>& mode);

class Disk final : public backend::Driver {
public:
    /// Figures are shown in the file `figures`, or nowhere when it is empty. `room`: for pages of guests that stay
    /// mapped, if the toolstack asks for it; none: never.
    Disk(backend::Device& device, Storages& storages, std::string journal, const std::string& figures,
         PersistentGrants::Room room = {});
    ~Disk() override;

    asio::awaitable<backend::Nodes> offer() override;
    asio::awaitable<backend::Nodes> connect() override;
    asio::awaitable<bool> resume() override;
    asio::awaitable<void> disconnect() override;

private:
    asio::awaitable<void> open();
    asio::awaitable<void> attach(bool resumed);
    asio::awaitable<std::vector<QueueNodes>> read_queues();
    asio::awaitable<QueueNodes> read_queue(std::string prefix, unsigned order, bool one_page);
    asio::awaitable<void> refuse_other_layouts();
    asio::awaitable<void> follow_size(std::shared_ptr<xenstore::Watch> watch);
    asio::awaitable<void> resize();
    asio::awaitable<bool> offers_persistent();
    asio::awaitable<PersistentGrants::Room> agree_on_persistent();
    std::string sectors() const;
    Counts counts_of(unsigned number);
    void stop();

    backend::Device& device_;
    Storages& storages_;
    std::string journal_;
    const PersistentGrants::Room room_;
    backend::Stats stats_;
    bool cdrom_ = false, removable_ = false;
    std::shared_ptr<Storage> storage_;
    std::vector<std::shared_ptr<Queue>> queues_;
    std::size_t ring_pages_ = 0;
    bool follows_ = false; ///< follow_size() runs
    asio::cancellation_signal unfollow_;
    backend::Signal unfollowed_;
};

} // namespace domus::block
