// Reads and changes of one tree on behalf of one caller: permissions, quotas, and a list of what changed.
// Lives for one request. Owner: the Store's request handler. No lock, no I/O. Used on the tree in force and, with a
// footprint, on a transaction's copy; committing applies the same edits to the tree in force through a second Editor.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "xenstore-lite/tree/access.hpp"
#include "xenstore-lite/tree/limits.hpp"
#include "xenstore-lite/tree/node.hpp"
#include "xenstore-lite/tree/outcome.hpp"

namespace domus::xenstore::tree {

/// One changing request, as a transaction remembers it until it commits.
struct Edit {
    enum class Kind { write, mkdir, remove, set_permissions };
    Kind kind;
    std::string path;
    std::string value;
    std::vector<Permission> permissions;

    std::size_t size() const { return path.size() + value.size() + permissions.size() * sizeof(Permission); }
};

/// One node that changed, with what is needed to journal it and to decide who may hear of it.
struct Change {
    std::string path;
    bool quiet = false;             ///< a parent made on the way: journalled, fires no watch
    std::vector<Permission> before; ///< permissions before the change; empty if it did not exist
    std::vector<Permission> after;  ///< permissions after the change; empty if it is gone
    std::string value;              ///< after the change
    std::shared_ptr<Node> removed;  ///< the subtree that is gone
};

/// What a transaction looked at, by path.
enum : std::uint8_t { touched_existence = 1, touched_value = 2, touched_children = 4 };
using Footprint = std::map<std::string, std::uint8_t>;

/// What an Editor works on and by which rules.
struct EditContext {
    Tree& tree;
    Accounts& accounts;
    const Limits& limits;
    std::uint64_t& generation; ///< counts up with every change
    const std::function<bool(std::uint16_t)>& domain_exists;
};

class Editor {
public:
    Editor(EditContext context, const Caller& caller, Footprint* footprint = nullptr)
        : context_(context), caller_(caller), footprint_(footprint) {}

    /// ENOENT, EACCES (also for what does not exist where the caller may not look), ENOSPC (footprint).
    Outcome<std::string> read(const std::string& path);
    Outcome<std::vector<Permission>> permissions(const std::string& path);
    /// Names of the children, and the count that changes whenever the list does.
    struct Listing {
        std::vector<std::string> names;
        std::uint64_t generation;
    };
    Outcome<Listing> children(const std::string& path);

    /// EACCES, EPERM (ownership), EINVAL (root), ENOENT, ENOSPC (a quota). Nothing has changed after a failure.
    Outcome<void> apply(const Edit& edit);

    std::vector<Change>& changes() { return changes_; }

private:
    Outcome<const Node*> readable(const std::string& path, std::uint8_t touched);
    Outcome<void> touch(const std::string& path, std::uint8_t touched);
    Outcome<void> check_size(std::size_t value, std::size_t permissions) const;
    Outcome<void> write(const Edit& edit);
    Outcome<void> create(const std::string& path, const std::string& value);
    Outcome<void> remove(const std::string& path);
    Outcome<void> set_permissions(const Edit& edit);
    std::vector<Permission> of_existing_domains(const std::vector<Permission>& permissions) const;

    EditContext context_;
    const Caller& caller_;
    Footprint* footprint_;
    std::vector<Change> changes_;
};

} // namespace domus::xenstore::tree
