// A guest's nodes in xenstore, after xenstore-paths and what Xen's own tools write. Owner: the engine. No lock.
// Permissions are the point: the guest owns only what it must write, and reads the rest of its own tree.
#pragma once

#include "toolstack/build/build.hpp"
#include "toolstack/model/domain.hpp"
#include "xenstore-lite/client/client.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace domus::engine {

namespace asio = boost::asio;
using Nodes = std::vector<std::pair<std::string, std::string>>; // path below a directory, value

/// Writes /vm/UUID and /local/domain/DOMID as they stand before the kernel is loaded. One transaction.
asio::awaitable<void> write_domain(xenstore::Client& store, std::uint16_t domid, const model::Domain& config,
                                   std::string start_time);

/// Writes where the store's and the console's ring are, once the builder has made them.
asio::awaitable<void> write_rings(xenstore::Client& store, std::uint16_t domid, const build::Result& rings,
                                  std::uint32_t store_port, std::uint32_t console_port);

/// Removes all nodes of a guest but its devices' backends.
asio::awaitable<void> remove_domain(xenstore::Client& store, std::uint16_t domid, std::string uuid);

/// Writes a device's two halves in one transaction: the backend belongs to its domain and is readable by the guest, the
/// frontend the guest's and readable by the backend's domain. All above the two directories is dom0's.
asio::awaitable<void> write_device(xenstore::Client& store, std::uint16_t domid, std::uint16_t backend_domid,
                                   std::string backend, Nodes backend_nodes, std::string frontend,
                                   Nodes frontend_nodes);

/// Writes what dom0 itself must have (name, domid) where it is missing.
asio::awaitable<void> write_dom0(xenstore::Client& store);

} // namespace domus::engine
