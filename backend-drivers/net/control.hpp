// A card's control ring: the frontend names pages that the queues are to keep mapped ("static grants" of
// xen/io/netif.h), so that packets in them are moved without the hypervisor. Owner: Vif; the coroutine keeps it alive
// until it has ended. No lock, one io_context. Every message about hashing is answered NOT_SUPPORTED: the host's
// bridge and the frontend spread packets over the queues.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/mapped_grants.hpp"
#include "backend-drivers/common/port.hpp"
#include "backend-drivers/net/arena.hpp"

namespace domus::net {

namespace asio = boost::asio;

using ControlRing = backend::BackRing<xen_netif_ctrl_request, xen_netif_ctrl_response>;
static_assert(sizeof(xen_netif_ctrl_request) == 16 && sizeof(xen_netif_ctrl_response) == 12);
static_assert(sizeof(xen_netif_gref) == 8);

/// What a frontend says of it. The numbers are the guest's: mapping and binding check them.
struct ControlNodes {
    std::uint32_t ring = 0, port = 0;
};

/// What serves the ring.
struct ControlPlace {
    asio::any_io_executor executor;
    backend::GuestAccess access;
    std::uint16_t domid;
    std::function<void(std::string)> fail; ///< told once why it cannot go on; not after stop()
};

class Control : public std::enable_shared_from_this<Control> {
public:
    /// `tables`: of each queue, alive until stop(). Throws client::Error: nothing is left then.
    Control(ControlPlace place, const ControlNodes& nodes, bool resumed, std::vector<backend::MappedGrants*> tables,
            const backend::RingFigures& figures);
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;

    /// Serves until stop().
    void start();
    /// Serves no more, and touches no table. The device may be gone afterwards.
    void stop();

private:
    /// How a message is answered.
    struct Answer {
        std::uint32_t status = XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED, data = 0;
    };

    asio::awaitable<void> serve();
    asio::awaitable<Answer> carry_out(xen_netif_ctrl_request request);
    asio::awaitable<Answer> add(backend::MappedGrants& table, std::span<const xen_netif_gref> list);
    asio::awaitable<Answer> remove(backend::MappedGrants& table, std::span<xen_netif_gref> list, std::uint32_t page);
    asio::awaitable<void> give_way();
    bool copy_list(std::uint32_t page, std::size_t entries, bool to_guest);
    static bool add_one(backend::MappedGrants& table, const xen_netif_gref& entry);

    ControlPlace place_;
    client::GrantMap page_;
    backend::Port port_;
    ControlRing ring_;
    std::vector<backend::MappedGrants*> tables_;
    backend::RingFigures figures_;
    Arena list_; ///< a message's list, copied once and then judged
    bool open_ = true;
};

} // namespace domus::net
