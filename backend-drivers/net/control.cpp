// See control.hpp. Messages are those of xen/io/netif.h, "Control messages". After each wait the loop looks whether it
// is still to go on: stop() has unmapped the ring, and the queues with their tables may be gone.
#include "backend-drivers/net/control.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <spdlog/spdlog.h>

#include "hypervisor/client/error.hpp"

namespace domus::net {

namespace {

constexpr std::size_t longest_list = page_size / sizeof(xen_netif_gref);
/// Pages mapped or unmapped before other guests have their turn.
constexpr std::size_t pages_per_turn = 32;

ControlRing ring_in(const client::GrantMap& page, bool resumed) {
    // A message that an earlier process took and did not answer is carried out (again).
    const RingIndex at = resumed ? ControlRing::shown_in(page.data()) : 0;
    return {page.data(), page_size, at, at};
}

} // namespace

Control::Control(ControlPlace place, const ControlNodes& nodes, bool resumed,
                 std::vector<backend::MappedGrants*> tables, const backend::RingFigures& figures)
    : place_(std::move(place)), page_(place_.access.grants, place_.domid, std::span(&nodes.ring, 1)),
      port_(place_.access.events, place_.domid, nodes.port), ring_(ring_in(page_, resumed)), tables_(std::move(tables)),
      figures_(figures), list_(*place_.access.grants, 1) {
    port_.count(figures_);
}

void Control::start() {
    const auto self = shared_from_this();
    asio::co_spawn(place_.executor, serve(), [self](const std::exception_ptr& failure) {
        if (!failure || !self->open_) {
            return;
        }
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            self->place_.fail(std::string("control ring: ") + error.what());
        }
    });
    port_.notify(); // an event that came while nobody had the port bound is lost, in either direction
}

void Control::stop() {
    open_ = false;
    port_.close();
    page_.reset();
}

asio::awaitable<void> Control::serve() {
    while (open_) {
        figures_.note(ring_);
        if (ring_.waiting() == 0) {
            if (!ring_.arm()) {
                co_await port_.wait();
            }
            continue;
        }
        xen_netif_ctrl_request request{};
        ring_.take(request);
        const Answer answer = co_await carry_out(request);
        if (!open_) {
            break;
        }
        ring_.put({.id = request.id, .type = request.type, .status = answer.status, .data = answer.data});
        if (ring_.publish()) {
            port_.notify();
        }
        co_await give_way();
    }
}

asio::awaitable<void> Control::give_way() {
    co_await asio::post(place_.executor, asio::use_awaitable);
}

asio::awaitable<Control::Answer> Control::carry_out(xen_netif_ctrl_request request) {
    const auto [queue, page, entries] = request.data;
    const bool asks = request.type == XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE;
    const bool adds = request.type == XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING;
    if (!asks && !adds && request.type != XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING) {
        co_return Answer{};
    }
    const Answer bad{.status = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER};
    if (queue >= tables_.size()) {
        co_return bad;
    }
    backend::MappedGrants& table = *tables_[queue];
    if (asks) {
        co_return Answer{.status = XEN_NETIF_CTRL_STATUS_SUCCESS, .data = static_cast<std::uint32_t>(table.most())};
    }
    if (entries == 0 || entries > longest_list || !copy_list(page, entries, false)) {
        co_return bad;
    }
    const std::span list(reinterpret_cast<xen_netif_gref*>(list_.page(0)), entries);
    Answer answer; // GCC 12 takes both ways of a `?:` that waits
    if (adds) {
        answer = co_await add(table, list);
    } else {
        answer = co_await remove(table, list, page);
    }
    co_return answer;
}

/// All of the list or none.
asio::awaitable<Control::Answer> Control::add(backend::MappedGrants& table, std::span<const xen_netif_gref> list) {
    if (list.size() > table.room()) {
        co_return Answer{.status = XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW};
    }
    for (std::size_t done = 0; done < list.size(); ++done) {
        if (done % pages_per_turn == pages_per_turn - 1) {
            co_await give_way();
        }
        if (!open_) {
            co_return Answer{};
        }
        if (!add_one(table, list[done])) {
            for (const xen_netif_gref& entry : list.first(done)) {
                table.remove(entry.ref);
            }
            co_return Answer{.status = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER};
        }
    }
    co_return Answer{.status = XEN_NETIF_CTRL_STATUS_SUCCESS};
}

bool Control::add_one(backend::MappedGrants& table, const xen_netif_gref& entry) {
    if ((entry.flags & ~XEN_NETIF_CTRLF_GREF_readonly) != 0 || table.has(entry.ref) || table.room() == 0) {
        return false; // room: another card may have taken it since the list was begun
    }
    try {
        table.add(entry.ref, (entry.flags & XEN_NETIF_CTRLF_GREF_readonly) == 0);
        return true;
    } catch (const client::Error& error) {
        spdlog::debug("control ring: {}", error.what());
        return false;
    }
}

/// Each entry for itself: its status goes back into the list, in the page it came from.
asio::awaitable<Control::Answer> Control::remove(backend::MappedGrants& table, std::span<xen_netif_gref> list,
                                                 std::uint32_t page) {
    std::uint32_t removed = 0;
    for (std::size_t done = 0; done < list.size(); ++done) {
        if (done % pages_per_turn == pages_per_turn - 1) {
            co_await give_way();
        }
        if (!open_) {
            co_return Answer{};
        }
        const bool was_there = table.remove(list[done].ref);
        removed += was_there ? 1 : 0;
        list[done].status = was_there ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
    }
    Answer answer{.status = XEN_NETIF_CTRL_STATUS_SUCCESS, .data = removed};
    if (!copy_list(page, list.size(), true)) {
        answer.status = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
    }
    co_return answer;
}

/// False: the guest granted no such page, or not for writing.
bool Control::copy_list(std::uint32_t page, std::size_t entries, bool to_guest) {
    client::GrantCopy piece{.reference = page,
                            .offset = 0,
                            .length = static_cast<std::uint16_t>(entries * sizeof(xen_netif_gref)),
                            .local = list_.page(0),
                            .to_guest = to_guest};
    place_.access.grants->copy(place_.domid, std::span(&piece, 1));
    return piece.status == GNTST_okay;
}

} // namespace domus::net
