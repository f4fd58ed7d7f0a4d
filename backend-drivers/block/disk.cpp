// See disk.hpp. Nodes of both directories are those of xen/io/blkif.h.
#include "backend-drivers/block/disk.hpp"

#include <stdexcept>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace domus::block {

bool may_write(const std::optional<std::string>& mode) {
    return mode && mode->find('w') != std::string::npos;
}

Disk::Disk(backend::Device& device, Storages& storages, std::string journal, const std::string& figures,
           PersistentGrants::Room room)
    : device_(device), storages_(storages), journal_(std::move(journal)), room_(std::move(room)), stats_(figures),
      unfollowed_(device.executor()) {}

Disk::~Disk() {
    stop();
}

asio::awaitable<backend::Nodes> Disk::offer() {
    co_await open();
    const bool persistent = co_await offers_persistent();
    const Medium medium = storage_->medium();
    backend::Nodes nodes{{"feature-flush-cache", "1"},
                         {"feature-barrier", "1"},
                         {"feature-persistent", persistent ? "1" : "0"},
                         {"feature-domus-ordered", "1"},
                         {"feature-discard", medium.discard ? "1" : "0"},
                         {"feature-max-indirect-segments", std::to_string(most_segments)},
                         {"max-ring-page-order", std::to_string(most_ring_order)},
                         {"multi-queue-max-queues", std::to_string(most_queues)}};
    if (medium.discard) {
        nodes.emplace_back("discard-granularity", std::to_string(storage_->discard_granularity()));
        nodes.emplace_back("discard-alignment", "0");
        nodes.emplace_back("discard-secure", "0");
    }
    co_return nodes;
}

asio::awaitable<backend::Nodes> Disk::connect() {
    co_await attach(false);
    const Medium medium = storage_->medium();
    const unsigned info =
        (cdrom_ ? VDISK_CDROM : 0) | (removable_ ? VDISK_REMOVABLE : 0) | (medium.read_only ? VDISK_READONLY : 0);
    backend::Nodes nodes{{"sectors", sectors()},
                         {"sector-size", std::to_string(sector_size)},
                         {"physical-sector-size", std::to_string(storage_->physical_sector())},
                         {"info", std::to_string(info)}};
    co_return nodes;
}

asio::awaitable<bool> Disk::resume() {
    co_await open();
    co_await attach(true);
    co_return true;
}

/// Late writes must not land after those of the frontend's next life.
asio::awaitable<void> Disk::disconnect() {
    unfollow_.emit(asio::cancellation_type::terminal);
    while (follows_) {
        co_await unfollowed_.wait();
    }
    const auto queues = queues_;
    stop();
    for (const auto& queue : queues) {
        co_await queue->drained();
    }
    storage_.reset();
}

void Disk::stop() {
    for (const auto& queue : queues_) {
        queue->stop();
    }
    queues_.clear();
    auto grants = stats_.level("grants");
    grants.set(grants.get() - std::exchange(ring_pages_, 0)); // queues with operations under way still have others
}

/// Opens what the toolstack named.
asio::awaitable<void> Disk::open() {
    storage_.reset(); // an earlier offer's
    const auto path = co_await device_.node("params");
    const auto mode = co_await device_.node("mode");
    const auto discard = co_await device_.node("discard-enable");
    const auto type = co_await device_.node("device-type");
    const auto removable = co_await device_.node("removable");
    if (!path || path->empty()) {
        throw std::runtime_error("the toolstack wrote no node params, which names the medium");
    }
    cdrom_ = type == "cdrom";
    removable_ = removable == "1";
    Spec spec;
    spec.path = *path;
    spec.read_only = !may_write(mode);
    spec.discard = discard != "0";
    spec.domid = device_.id().domid;
    spec.devid = device_.id().devid;
    storage_ = co_await storages_.open(std::move(spec));
}

/// Takes the frontend's rings, all queues or none.
asio::awaitable<void> Disk::attach(bool resumed) {
    if (!storage_) { // closed by an earlier disconnect
        co_await open();
    }
    co_await refuse_other_layouts();
    auto all = co_await read_queues();
    auto journal = std::make_shared<Journal>(journal_, resumed ? Journal::From::Earlier : Journal::From::Nothing);
    std::vector<std::shared_ptr<Queue>> queues;
    const auto persistent = co_await agree_on_persistent();
    std::size_t pages = 0;
    for (unsigned i = 0; i < all.size(); ++i) {
        pages += all[i].pages.size();
        all[i].persistent = persistent;
        queues.push_back(std::make_shared<Queue>(device_, i, all[i], storage_, journal, counts_of(i), resumed));
    }
    auto watch = co_await device_.store().watch(device_.id().path() + "/resize");
    queues_ = std::move(queues);
    auto grants = stats_.level("grants");
    grants.set(grants.get() + std::exchange(ring_pages_, pages));
    for (const auto& queue : queues_) {
        queue->start();
    }
    follows_ = true;
    asio::co_spawn(device_.executor(), follow_size(std::move(watch)),
                   asio::bind_cancellation_slot(unfollow_.slot(), [this](const std::exception_ptr&) {
                       follows_ = false; // disconnected, or the store is lost, which ends the device
                       unfollowed_.notify();
                   }));
}

asio::awaitable<bool> Disk::offers_persistent() {
    const auto asked = co_await device_.node("persistent-enable");
    if (!room_) {
        co_return false;
    }
    co_return asked == "1";
}

/// None: data is copied. A frontend that was not offered it takes a page that stays mapped for a fault, so what counts
/// is what the store says was offered, maybe by an earlier process.
asio::awaitable<PersistentGrants::Room> Disk::agree_on_persistent() {
    const auto ours = co_await device_.node("feature-persistent");
    const auto theirs = co_await device_.frontend_node("feature-persistent");
    co_return ours == "1" && theirs == "1" ? room_ : nullptr;
}

std::string Disk::sectors() const {
    return std::to_string(storage_->medium().bytes / sector_size);
}

/// Somebody made the medium larger or smaller and wrote the node resize, which goes away when that is done.
asio::awaitable<void> Disk::follow_size(std::shared_ptr<xenstore::Watch> watch) {
    for (;;) {
        co_await watch->next();
        const auto asked = co_await device_.node("resize");
        if (asked) {
            co_await resize();
        }
    }
}

asio::awaitable<void> Disk::resize() {
    backend::Nodes nodes;
    try {
        storage_->measure();
        nodes.emplace_back("sectors", sectors());
        nodes.emplace_back("resize-error", "");
    } catch (const std::runtime_error& error) {
        spdlog::error("{}: not resized: {}", device_.id().text(), error.what());
        nodes.emplace_back("resize-error", error.what());
    }
    co_await device_.publish_again(std::move(nodes));
    co_await device_.store().rm(device_.id().path() + "/resize");
}

/// A 32-bit guest's requests are laid out differently.
asio::awaitable<void> Disk::refuse_other_layouts() {
    const auto protocol = co_await device_.frontend_node("protocol");
    if (protocol && *protocol != "x86_64-abi") {
        throw std::runtime_error(fmt::format(
            "the frontend's node protocol is {:.40}, only x86_64-abi is served; use backendtype=linux", *protocol));
    }
}

asio::awaitable<std::vector<QueueNodes>> Disk::read_queues() {
    const auto said = co_await device_.frontend_number("multi-queue-num-queues", most_queues);
    const auto order = co_await device_.frontend_number("ring-page-order", most_ring_order);
    const auto count = static_cast<unsigned>(said.value_or(1));
    if (count == 0) {
        throw std::runtime_error("the frontend's node multi-queue-num-queues is 0");
    }
    std::vector<QueueNodes> all;
    for (unsigned i = 0; i < count; ++i) {
        std::string prefix = count == 1 ? std::string() : fmt::format("queue-{}/", i);
        auto nodes = co_await read_queue(std::move(prefix), static_cast<unsigned>(order.value_or(0)), !order);
        all.push_back(std::move(nodes));
    }
    co_return all;
}

asio::awaitable<QueueNodes> Disk::read_queue(std::string prefix, unsigned order, bool one_page) {
    constexpr std::uint64_t any = 0xffffffff;
    QueueNodes nodes;
    for (unsigned i = 0; i < 1U << order; ++i) {
        std::string name = one_page ? prefix + "ring-ref" : fmt::format("{}ring-ref{}", prefix, i);
        const auto reference = co_await device_.frontend_need(std::move(name), any);
        nodes.pages.push_back(static_cast<std::uint32_t>(reference));
    }
    const auto port = co_await device_.frontend_need(prefix + "event-channel", any);
    nodes.port = static_cast<std::uint32_t>(port);
    co_return nodes;
}

Counts Disk::counts_of(unsigned number) {
    const auto count = [&](const char* what) { return stats_.count(fmt::format("q{}.{}", number, what)); };
    return {.reads = count("reads"),
            .writes = count("writes"),
            .flushes = count("flushes"),
            .discards = count("discards"),
            .errors = count("errors"),
            .read_bytes = count("read_bytes"),
            .written_bytes = count("written_bytes"),
            .batches = count("batches"),
            .direct = count("direct"),
            .grants = stats_.level("grants"),
            .ring = backend::RingFigures(stats_, fmt::format("q{}.", number))};
}

} // namespace domus::block
