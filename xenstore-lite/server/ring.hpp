// The two byte streams in a xenstore ring page (<xen/io/xs_wire.h>, struct xenstore_domain_interface).
// A view of memory a hostile guest writes at any time: indices are read once and judged, never trusted; our own
// positions are kept outside the page by the caller. No lock; the guest is the other side of every ordering here.
//
// A guest signals only when it has to: after a request if all before it was given back, after fetching replies if the
// ring was full. So whoever gives back or publishes must look again: the two stores are sequentially consistent, and so
// are the loads that follow them.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <xen/io/xs_wire.h>

namespace domus::xenstore::server {

/// Bit 4 of the server's features: WATCH takes a depth. Not in 4.17's header yet.
inline constexpr std::uint32_t feature_watch_depth = 1U << 4;

class Ring {
public:
    explicit Ring(xenstore_domain_interface& page) : page_(page) {}

    /// Bytes the guest produced beyond `consumed`. Nothing if its index makes no sense.
    std::optional<std::uint32_t> available(std::uint32_t consumed) const {
        // Pairs with the guest's barrier between writing bytes and moving req_prod.
        return sane(load(page_.req_prod, std::memory_order_seq_cst) - consumed);
    }
    /// Copies bytes out. Precondition: count <= available(consumed).
    std::string peek(std::uint32_t consumed, std::uint32_t count) const;
    /// Gives the room back to the guest, when the copy above is done.
    void consume(std::uint32_t position) { store(page_.req_cons, position); }

    /// How many bytes fit after `produced`. Nothing if the guest's index makes no sense.
    std::optional<std::uint32_t> room(std::uint32_t produced) const {
        // The guest has read what it gives back.
        const auto used = sane(produced - load(page_.rsp_cons, std::memory_order_seq_cst));
        return used ? std::optional(XENSTORE_RING_SIZE - *used) : std::nullopt;
    }
    /// Copies bytes in; invisible to the guest until publish(). Precondition: they fit.
    void put(std::uint32_t produced, std::string_view bytes);
    /// Pairs with the guest's barrier after reading rsp_prod.
    void publish(std::uint32_t position) { store(page_.rsp_prod, position); }

    std::uint32_t consumed() const { return load(page_.req_cons, std::memory_order_relaxed); }
    std::uint32_t produced() const { return load(page_.rsp_prod, std::memory_order_relaxed); }

    void offer_features() {
        store(page_.server_features,
              XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR | feature_watch_depth);
    }
    void report_error(std::uint32_t error) { store(page_.error, error); }

    /// The guest asks for the ring to be emptied.
    bool wants_reconnect() const { return load(page_.connection, std::memory_order_acquire) == XENSTORE_RECONNECT; }
    /// All indices to 0, then says so. The order matters: the guest ignores the rest until it sees `connection`.
    void reconnect();

private:
    static std::uint32_t load(const std::uint32_t& field, std::memory_order order) {
        return std::atomic_ref<std::uint32_t>(const_cast<std::uint32_t&>(field)).load(order);
    }
    static void store(std::uint32_t& field, std::uint32_t value) { std::atomic_ref<std::uint32_t>(field).store(value); }
    static std::optional<std::uint32_t> sane(std::uint32_t count) {
        return count <= XENSTORE_RING_SIZE ? std::optional(count) : std::nullopt;
    }

    xenstore_domain_interface& page_;
};

} // namespace domus::xenstore::server
