// Permission and quota rules of each operation. See editor.hpp.
#include "xenstore-lite/tree/editor.hpp"

#include <algorithm>

#include "xenstore-lite/tree/path.hpp"

namespace domus::xenstore::tree {

Outcome<void> Editor::touch(const std::string& path, std::uint8_t touched) {
    if (!footprint_) {
        return {};
    }
    if (!caller_.privileged() && footprint_->size() >= context_.limits.transaction_nodes &&
        !footprint_->contains(path)) {
        return Errno::quota;
    }
    (*footprint_)[path] |= touched;
    return {};
}

Outcome<const Node*> Editor::readable(const std::string& path, std::uint8_t touched) {
    if (const auto logged = touch(path, touched); !logged) {
        return logged.error();
    }
    std::string_view nearest;
    const Node* node = context_.tree.find_nearest(path, nearest);
    if (!may_read(caller_, node->permissions)) {
        return Errno::denied;
    }
    if (nearest != path) {
        return Errno::absent;
    }
    return node;
}

Outcome<std::string> Editor::read(const std::string& path) {
    const auto node = readable(path, touched_existence | touched_value);
    if (!node) {
        return node.error();
    }
    return (*node)->value;
}

Outcome<std::vector<Permission>> Editor::permissions(const std::string& path) {
    const auto node = readable(path, touched_existence | touched_value);
    if (!node) {
        return node.error();
    }
    return (*node)->permissions;
}

Outcome<Editor::Listing> Editor::children(const std::string& path) {
    const auto node = readable(path, touched_existence | touched_children);
    if (!node) {
        return node.error();
    }
    Listing listing{{}, (*node)->children_generation};
    for (const auto& [name, child] : (*node)->children) {
        listing.names.push_back(name);
    }
    return listing;
}

Outcome<void> Editor::apply(const Edit& edit) {
    switch (edit.kind) {
    case Edit::Kind::write:
    case Edit::Kind::mkdir:
        return write(edit);
    case Edit::Kind::remove:
        return remove(edit.path);
    case Edit::Kind::set_permissions:
        return set_permissions(edit);
    }
    return Errno::invalid;
}

Outcome<void> Editor::check_size(std::size_t value, std::size_t permissions) const {
    if (!caller_.privileged() && value + permissions * sizeof(Permission) > context_.limits.node_size) {
        return Errno::quota;
    }
    return {};
}

Outcome<void> Editor::write(const Edit& edit) {
    const bool directory = edit.kind == Edit::Kind::mkdir;
    if (const auto logged = touch(edit.path, directory ? touched_existence : touched_existence | touched_value);
        !logged) {
        return logged;
    }
    const Node* node = context_.tree.find(edit.path);
    if (!node) {
        return create(edit.path, edit.value);
    }
    if (!may_write(caller_, node->permissions)) {
        return Errno::denied;
    }
    if (directory) {
        return {};
    }
    if (const auto fits = check_size(edit.value.size(), node->permissions.size()); !fits) {
        return fits;
    }
    Node& target = context_.tree.edit(edit.path);
    target.value = edit.value;
    target.generation = ++context_.generation;
    target.writer = caller_.domid;
    changes_.push_back({edit.path, false, target.permissions, target.permissions, edit.value, nullptr});
    return {};
}

Outcome<void> Editor::create(const std::string& path, const std::string& value) {
    std::string_view nearest;
    const Node* parent = context_.tree.find_nearest(path, nearest);
    if (!may_write(caller_, parent->permissions)) {
        return Errno::denied;
    }
    // New nodes inherit the parent's list; what an unprivileged domain creates belongs to it.
    std::vector<Permission> permissions = parent->permissions;
    if (!caller_.privileged()) {
        permissions.front().domid = caller_.domid;
    }
    if (const auto fits = check_size(value.size(), permissions.size()); !fits) {
        return fits;
    }
    const auto owner = permissions.front().domid;
    const unsigned missing = levels_below(path, nearest);
    if (!caller_.privileged() && context_.accounts.nodes_of(owner) + missing > context_.limits.nodes) {
        return Errno::quota;
    }
    std::size_t end = nearest == "/" ? 0 : nearest.size();
    while (end != path.size()) {
        end = std::min(path.find('/', end + 1), path.size());
        const std::string made = path.substr(0, end);
        Node node;
        node.permissions = permissions;
        node.value = end == path.size() ? value : std::string();
        node.writer = caller_.domid;
        changes_.push_back({made, end != path.size(), {}, permissions, node.value, nullptr});
        context_.tree.add(made, std::move(node), ++context_.generation);
        context_.accounts.add(owner);
    }
    return {};
}

Outcome<void> Editor::remove(const std::string& path) {
    if (path == "/") {
        return Errno::invalid;
    }
    if (const auto logged = touch(path, touched_existence | touched_value); !logged) {
        return logged;
    }
    std::string_view nearest;
    const Node* node = context_.tree.find_nearest(path, nearest);
    if (!may_write(caller_, node->permissions)) {
        return Errno::denied;
    }
    if (nearest != path) { // already gone, which is no error while its parent is there
        return nearest == parent_of(path) ? Outcome<void>() : Outcome<void>(Errno::absent);
    }
    Change change{path, false, node->permissions, {}, {}, nullptr};
    change.removed = context_.tree.remove(path, ++context_.generation, caller_.domid);
    for_each(*change.removed, path,
             [this](const std::string&, const Node& gone) { context_.accounts.remove(gone.owner()); });
    changes_.push_back(std::move(change));
    return {};
}

std::vector<Permission> Editor::of_existing_domains(const std::vector<Permission>& permissions) const {
    // An entry for a domain that does not exist would be inherited by whichever domain gets the number next.
    std::vector<Permission> kept{permissions.front()};
    std::copy_if(permissions.begin() + 1, permissions.end(), std::back_inserter(kept),
                 [this](const Permission& entry) { return context_.domain_exists(entry.domid); });
    return kept;
}

Outcome<void> Editor::set_permissions(const Edit& edit) {
    if (const auto logged = touch(edit.path, touched_existence | touched_value); !logged) {
        return logged;
    }
    std::string_view nearest;
    const Node* node = context_.tree.find_nearest(edit.path, nearest);
    if (nearest != edit.path) {
        return may_write(caller_, node->permissions) ? Errno::absent : Errno::denied;
    }
    if (!owns(caller_, node->permissions)) {
        return Errno::denied;
    }
    if (edit.permissions.empty()) {
        return Errno::invalid;
    }
    const auto owner = edit.permissions.front().domid;
    if (!caller_.privileged()) {
        if (owner != node->owner()) { // giving nodes away would charge them to somebody else's quota
            return Errno::not_owner;
        }
        if (edit.permissions.size() > context_.limits.permissions) {
            return Errno::quota;
        }
        if (const auto fits = check_size(node->value.size(), edit.permissions.size()); !fits) {
            return fits;
        }
    }
    if (!context_.domain_exists(owner)) {
        return Errno::invalid;
    }
    Change change{edit.path, false, node->permissions, of_existing_domains(edit.permissions), node->value, nullptr};
    Node& target = context_.tree.edit(edit.path);
    context_.accounts.remove(target.owner());
    context_.accounts.add(owner);
    target.permissions = change.after;
    target.generation = ++context_.generation;
    target.writer = caller_.domid;
    changes_.push_back(std::move(change));
    return {};
}

} // namespace domus::xenstore::tree
