// Quotas of unprivileged domains and the count of nodes each domain owns. Domain 0 has no limits.
// Owner: Store; transactions hold copies of the counts. Plain values, no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace domus::xenstore::tree {

/// What one domain may use. The numbers follow what guests get from Xen's own daemon.
struct Limits {
    std::size_t nodes = 1000;                    ///< nodes owned by the domain, wherever they are
    std::size_t node_size = 2048;                ///< bytes of value and permissions of one node
    std::size_t watches = 128;                   ///< per connection
    std::size_t transactions = 10;               ///< open at once, per connection
    std::size_t transaction_nodes = 1024;        ///< different paths one transaction may touch
    std::size_t transaction_bytes = 1024 * 1024; ///< paths and values written by all open transactions
    std::size_t permissions = 5;                 ///< entries of one node's list
    std::size_t outstanding_bytes = 64 * 1024;   ///< replies and events the client has not fetched

    /// The limit of that name as the command line and XS_CONTROL spell it, or null.
    std::size_t* by_name(const std::string& name) {
        const std::map<std::string, std::size_t*> table = {
            {"nodes", &nodes},
            {"node-size", &node_size},
            {"watches", &watches},
            {"transactions", &transactions},
            {"transaction-nodes", &transaction_nodes},
            {"transaction-bytes", &transaction_bytes},
            {"permissions", &permissions},
            {"outstanding-bytes", &outstanding_bytes},
        };
        const auto found = table.find(name);
        return found == table.end() ? nullptr : found->second;
    }
};

/// Nodes by owner. Domains owning none have no entry, so a successor of the same number starts at zero.
class Accounts {
public:
    std::size_t nodes_of(std::uint16_t domid) const {
        const auto found = nodes_.find(domid);
        return found == nodes_.end() ? 0 : found->second;
    }
    void add(std::uint16_t domid) { ++nodes_[domid]; }
    void remove(std::uint16_t domid) {
        const auto found = nodes_.find(domid);
        if (found != nodes_.end() && --found->second == 0) {
            nodes_.erase(found);
        }
    }

private:
    std::map<std::uint16_t, std::size_t> nodes_;
};

} // namespace domus::xenstore::tree
