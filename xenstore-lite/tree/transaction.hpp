// A transaction: a snapshot, a private copy that its own reads and writes work on, and what it touched and did.
// Owner: the Session that started it. Lock: none. No I/O.
// Committing checks that nothing it touched has changed since, then does its edits again on the tree in force, all or
// none; so two transactions that touched different nodes both commit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "xenstore-lite/tree/editor.hpp"

namespace domus::xenstore::tree {

struct Transaction {
    Transaction(const Tree& tree, const Accounts& counts) : base(tree), work(tree), accounts(counts) {}

    Tree base; ///< as it was at the start
    Tree work;
    Accounts accounts;
    Footprint footprint;
    std::vector<Edit> edits;
    std::size_t bytes = 0;
    bool doomed = false; ///< survived a restart of the daemon in name only: ends with EAGAIN

    /// The domain whose write makes this transaction fail, or nothing if it may commit on `now`.
    std::optional<std::uint16_t> conflict(const Tree& now) const;
};

} // namespace domus::xenstore::tree
