// Device states in xenstore (xen/io/xenbus.h) and where devices stand in the tree (xenstore-paths).
// Owner: the engine's device code. No lock. Reads what guests write, so every value read is checked.
#pragma once

#include "xenstore-lite/client/client.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace domus::engine {

namespace asio = boost::asio;
using xenstore::Tx;

/// enum xenbus_state of xen/io/xenbus.h; Absent stands for no node.
enum class XenbusState : unsigned {
    Absent = 0,
    Initialising = 1,
    InitWait = 2,
    Initialised = 3,
    Connected = 4,
    Closing = 5,
    Closed = 6,
    Reconfiguring = 7,
    Reconfigured = 8
};

std::string domain_path(std::uint16_t domid);
/// `kind` is "vbd" or "vif" for Linux's backends, "domus-vif" for one of ours: Linux's must not look at that one. The
/// guest's side is the same for both.
/// `where`: the domain of the backend.
std::string backend_path(std::string_view kind, std::uint16_t domid, std::uint32_t devid, std::uint16_t where = 0);
std::string frontend_path(std::string_view kind, std::uint16_t domid, std::uint32_t devid);

/// Names of the nodes below `path`; none when it does not exist.
asio::awaitable<std::vector<std::string>> children_of(xenstore::Client& store, std::string path);

/// An unsigned decimal number, or nothing when `text` is anything else.
std::optional<std::uint32_t> to_number(std::string_view text);
std::string state_text(XenbusState state);
/// For people: "Connected"; "absent" when there is no node.
const char* state_name(XenbusState state);

/// Runs `work` until it is done or `limit` is over (false; the work is cancelled). What it throws is thrown.
asio::awaitable<bool> within(asio::awaitable<void> work, std::chrono::milliseconds limit);

asio::awaitable<XenbusState> read_state(xenstore::Client& store, std::string path);

/// Waits until `wanted` holds of the state node at `path`. False when `limit` ran out first.
asio::awaitable<bool> wait_state(xenstore::Client& store, std::string path, std::function<bool(XenbusState)> wanted,
                                 std::chrono::milliseconds limit);

/// Asks `ready` every 5 ms until it says yes; false when `limit` ran out. For what the kernel announces nowhere.
asio::awaitable<bool> poll_until(std::function<bool()> ready, std::chrono::milliseconds limit);

/// Removes `path`, then its parent and so on up to `above` (kept) as long as they are empty.
asio::awaitable<void> remove_up(xenstore::Client& store, std::string path, std::string above);

} // namespace domus::engine
