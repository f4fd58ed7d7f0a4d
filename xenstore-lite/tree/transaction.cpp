// Conflict detection. See transaction.hpp.
#include "xenstore-lite/tree/transaction.hpp"

#include "xenstore-lite/tree/path.hpp"

namespace domus::xenstore::tree {

std::optional<std::uint16_t> Transaction::conflict(const Tree& now) const {
    for (const auto& [path, touched] : footprint) {
        const Node* before = base.find(path);
        const Node* after = now.find(path);
        if (before == after) {
            continue; // the very same node: nobody wrote it or below it
        }
        if (!before || !after) {
            std::string_view nearest;
            return after ? after->writer : now.find_nearest(path, nearest)->writer;
        }
        if ((touched & touched_value) != 0 && before->generation != after->generation) {
            return after->writer;
        }
        if ((touched & touched_children) != 0 && before->children_generation != after->children_generation) {
            return after->writer;
        }
    }
    return std::nullopt;
}

} // namespace domus::xenstore::tree
