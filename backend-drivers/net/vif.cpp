// See vif.hpp. Nodes of both directories are those of xen/io/netif.h.
#include "backend-drivers/net/vif.hpp"

#include <charconv>
#include <stdexcept>

#include <fmt/format.h>

namespace domus::net {

Mac parse_mac(const std::string& text) {
    Mac mac{};
    bool good = text.size() == 17;
    for (std::size_t i = 0; good && i < mac.size(); ++i) {
        const char* at = text.data() + i * 3;
        const auto [end, error] = std::from_chars(at, at + 2, mac[i], 16);
        good = error == std::errc{} && end == at + 2 && (i == 5 || *end == ':');
    }
    if (!good) {
        throw std::runtime_error(fmt::format("node mac is '{}', expected one like 00:16:3e:01:02:03", text));
    }
    return mac;
}

std::optional<RateLimit> parse_rate(const std::string& text, unsigned queues, Clock::time_point now) {
    const auto comma = text.find(',');
    const auto bytes = backend::to_number(std::string_view(text).substr(0, comma));
    const auto interval =
        backend::to_number(comma == std::string::npos ? "" : std::string_view(text).substr(comma + 1));
    if (!bytes || !interval || *interval == 0 || *interval > 0xffffffff) {
        throw std::runtime_error(fmt::format("node rate is '{}', expected BYTES,MICROSECONDS", text));
    }
    if (*bytes == 0) {
        return std::nullopt;
    }
    return RateLimit(std::max<std::uint64_t>(*bytes / queues, 1), std::chrono::microseconds(*interval), now);
}

Vif::Vif(backend::Device& device, Network& network, const std::string& figures)
    : device_(device), network_(network), stats_(figures) {}

Vif::~Vif() {
    stop();
}

asio::awaitable<backend::Nodes> Vif::offer() {
    co_await plug();
    backend::Nodes nodes{{"feature-rx-copy", "1"},
                         {"feature-rx-flip", "0"},
                         {"feature-sg", "1"},
                         {"feature-gso-tcpv4", "1"},
                         {"feature-gso-tcpv6", "1"},
                         {"feature-ipv6-csum-offload", "1"},
                         {"feature-split-event-channels", "1"},
                         {"feature-multicast-control", "0"},
                         {"feature-ctrl-ring", "1"},
                         {"multi-queue-max-queues", std::to_string(most_queues)}};
    co_return nodes;
}

asio::awaitable<backend::Nodes> Vif::connect() {
    co_await attach(false);
    co_return backend::Nodes{};
}

asio::awaitable<bool> Vif::resume() {
    co_await plug();
    co_await attach(true);
    co_return true;
}

asio::awaitable<void> Vif::disconnect() {
    stop();
    co_return;
}

void Vif::stop() {
    if (control_) {
        control_->stop();
        control_.reset();
    }
    for (const auto& queue : queues_) {
        queue->stop();
    }
    queues_.clear();
    stats_.level("grants").set(0);
    first_ = Descriptor();
}

/// Makes the interface of the host's side, as the toolstack wants it.
asio::awaitable<void> Vif::plug() {
    first_ = Descriptor(); // the interface of an earlier offer, perhaps under another name
    const auto name = co_await device_.node("vifname");
    const auto bridge = co_await device_.node("bridge");
    const auto other = co_await device_.node("switch"); // one that is not Linux's: the toolstack has told it the name
    const auto mtu = co_await device_.node("mtu");
    Interface interface;
    interface.name = name.value_or(fmt::format("vif{}.{}", device_.id().domid, device_.id().devid));
    interface.bridge = other ? "" : bridge.value_or("");
    interface.mtu = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(backend::to_number(mtu.value_or("0")).value_or(0), longest_packet));
    first_ = network_.make(interface);
    interface_ = interface.name;
}

/// Takes the frontend's rings, all queues or none.
asio::awaitable<void> Vif::attach(bool resumed) {
    const auto copies = co_await frontend_has("request-rx-copy");
    const auto notifies = co_await frontend_has("feature-rx-notify");
    if (!copies || !notifies) {
        throw std::runtime_error(
            "the frontend does not say request-rx-copy and feature-rx-notify, which are needed here");
    }
    const auto said = co_await device_.frontend_number("multi-queue-num-queues", most_queues);
    const auto count = static_cast<unsigned>(said.value_or(1));
    if (count == 0) {
        throw std::runtime_error("the frontend's node multi-queue-num-queues is 0");
    }
    auto settings = co_await read_settings(count);
    settings.resumed = resumed;
    std::vector<QueueNodes> all;
    for (unsigned i = 0; i < count; ++i) {
        std::string prefix = count == 1 ? std::string() : fmt::format("queue-{}/", i);
        const auto nodes = co_await read_queue(std::move(prefix));
        all.push_back(nodes);
    }
    const auto control_nodes = co_await read_control();
    Queues queues;
    for (unsigned i = 0; i < count; ++i) {
        queues.push_back(make_queue(i, all[i], settings));
    }
    auto control = control_nodes ? make_control(*control_nodes, queues, resumed) : nullptr;
    network_.carrier_on(queues[0]->tap(),
                        {.checksum = settings.rx.checksum4, .tso4 = settings.rx.gso4, .tso6 = settings.rx.gso6});
    queues_ = std::move(queues);
    control_ = std::move(control);
    stats_.level("grants").set(queues_.size() * 2 + (control_ ? 1 : 0)); // the rings, so far
    if (control_) {
        control_->start();
    }
    for (const auto& queue : queues_) {
        queue->start();
    }
}

asio::awaitable<bool> Vif::frontend_has(std::string feature) {
    const auto value = co_await device_.frontend_number(feature, 0xffffffff);
    co_return value.value_or(0) != 0;
}

asio::awaitable<Queue::Settings> Vif::read_settings(unsigned queues) {
    const auto mac = co_await device_.node("mac");
    const auto rate = co_await device_.node("rate");
    const auto scatter = co_await frontend_has("feature-sg");
    const auto no_checksum4 = co_await frontend_has("feature-no-csum-offload");
    const auto checksum6 = co_await frontend_has("feature-ipv6-csum-offload");
    const auto gso4 = co_await frontend_has("feature-gso-tcpv4");
    const auto gso6 = co_await frontend_has("feature-gso-tcpv6");
    Queue::Settings settings;
    settings.tx.domid = settings.rx.domid = device_.id().domid;
    if (mac) {
        settings.tx.source = parse_mac(*mac);
    }
    if (rate) {
        settings.tx.rate = parse_rate(*rate, queues, Clock::now());
    }
    settings.rx.scatter = scatter;
    settings.rx.checksum4 = !no_checksum4;
    settings.rx.checksum6 = checksum6 && !no_checksum4; // the tap knows one switch for both
    settings.rx.gso4 = gso4 && scatter && settings.rx.checksum4;
    settings.rx.gso6 = gso6 && scatter && settings.rx.checksum6;
    co_return settings;
}

asio::awaitable<QueueNodes> Vif::read_queue(std::string prefix) {
    constexpr std::uint64_t any = 0xffffffff;
    QueueNodes nodes;
    const auto tx_ring = co_await device_.frontend_need(prefix + "tx-ring-ref", any);
    const auto rx_ring = co_await device_.frontend_need(prefix + "rx-ring-ref", any);
    const auto split = co_await device_.frontend_number(prefix + "event-channel-tx", any);
    const std::string other = split ? "event-channel-rx" : "event-channel";
    const auto port = co_await device_.frontend_need(prefix + other, any);
    nodes.tx_ring = static_cast<std::uint32_t>(tx_ring);
    nodes.rx_ring = static_cast<std::uint32_t>(rx_ring);
    nodes.rx_port = static_cast<std::uint32_t>(port);
    nodes.tx_port = static_cast<std::uint32_t>(split.value_or(port));
    co_return nodes;
}

asio::awaitable<std::optional<ControlNodes>> Vif::read_control() {
    constexpr std::uint64_t any = 0xffffffff;
    const auto ring = co_await device_.frontend_number("ctrl-ring-ref", any);
    if (!ring) {
        co_return std::nullopt;
    }
    const auto port = co_await device_.frontend_need("event-channel-ctrl", any);
    co_return ControlNodes{.ring = static_cast<std::uint32_t>(*ring), .port = static_cast<std::uint32_t>(port)};
}

std::shared_ptr<Control> Vif::make_control(const ControlNodes& nodes, const Queues& queues, bool resumed) {
    std::vector<backend::MappedGrants*> tables;
    for (const auto& queue : queues) {
        tables.push_back(&queue->mapped());
    }
    ControlPlace place{device_.executor(), device_.access(), device_.id().domid,
                       [this](std::string reason) { device_.fail(std::move(reason)); }};
    return std::make_shared<Control>(std::move(place), nodes, resumed, std::move(tables),
                                     backend::RingFigures(stats_, "q0.ctrl_"));
}

std::shared_ptr<Queue> Vif::make_queue(unsigned number, const QueueNodes& nodes, const Queue::Settings& settings) {
    const auto count = [&](const char* what) { return stats_.count(fmt::format("q{}.{}", number, what)); };
    const auto ring = [&](const char* way) { return backend::RingFigures(stats_, fmt::format("q{}.{}", number, way)); };
    Descriptor tap = number == 0 ? std::move(first_) : network_.add_queue(interface_);
    return std::make_shared<Queue>(
        device_, nodes, tap.release(), settings,
        TxQueue::Counts{.packets = count("tx_packets"),
                        .bytes = count("tx_bytes"),
                        .dropped = count("tx_dropped"),
                        .spoofed = count("tx_spoofed"),
                        .batches = count("tx_batches"),
                        .ring = ring("tx_")},
        RxQueue::Counts{.packets = count("rx_packets"),
                        .bytes = count("rx_bytes"),
                        .dropped = count("rx_dropped"),
                        .batches = count("rx_batches"),
                        .ring = ring("rx_")},
        backend::MappedGrants::Figures{.pages = stats_.level(fmt::format("q{}.mapped", number)),
                                       .held = stats_.level("grants"),
                                       .from_guest = count("tx_mapped"),
                                       .to_guest = count("rx_mapped")});
}

} // namespace domus::net
