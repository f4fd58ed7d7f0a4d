// The nodes themselves. A Tree is a value: copying one is a snapshot that costs a reference count, because nodes are
// shared between trees and copied on the first write to one that is shared. Transactions live on such copies.
// Owner: Store (the tree in force) and each Transaction. Lock: none, one thread. Knows nothing of permissions' meaning.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "xenstore-lite/wire/permission.hpp"

namespace domus::xenstore::tree {

struct Node {
    std::string value;
    std::vector<Permission> permissions; ///< never empty; the first entry names the owner
    std::map<std::string, std::shared_ptr<Node>, std::less<>> children;
    std::uint64_t generation = 0;          ///< changes with value and permissions
    std::uint64_t children_generation = 0; ///< changes when a child comes or goes
    std::uint16_t writer = 0;              ///< the domain that caused the last change, to blame for conflicts

    std::uint16_t owner() const { return permissions.front().domid; }
};

class Tree {
public:
    /// A tree of only a root that belongs to domain 0 and that nobody else may touch.
    Tree();

    const Node* find(std::string_view path) const;

    /// The node at `path`, or the nearest one above it that exists (the root always does).
    const Node* find_nearest(std::string_view path, std::string_view& nearest_path) const;

    /// The node for writing, copied first where it is shared with another tree. Precondition: it exists.
    Node& edit(std::string_view path);

    /// Adds a child. Precondition: the parent exists, the child does not.
    Node& add(std::string_view path, Node node, std::uint64_t generation);

    /// Cuts the node off with all below it and hands it back. Precondition: it exists and is not the root.
    std::shared_ptr<Node> remove(std::string_view path, std::uint64_t generation, std::uint16_t writer);

    const Node& root() const { return *root_; }

private:
    std::shared_ptr<Node> root_;
};

/// The node `relative` ("a/b") below `top`, or null.
const Node* find_below(const Node& top, std::string_view relative);

/// Calls `visit(path, node)` for `top` and all below it, parents first. Depth is bounded by the longest legal path.
void for_each(const Node& top, const std::string& path,
              const std::function<void(const std::string&, const Node&)>& visit);

} // namespace domus::xenstore::tree
