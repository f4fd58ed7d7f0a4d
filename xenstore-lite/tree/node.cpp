// Copy-on-write tree. See node.hpp.
#include "xenstore-lite/tree/node.hpp"

#include "xenstore-lite/tree/path.hpp"

namespace domus::xenstore::tree {

namespace {
/// Makes the pointed-to node ours alone: whoever else holds it keeps the old one.
Node& own(std::shared_ptr<Node>& pointer) {
    if (pointer.use_count() > 1) {
        pointer = std::make_shared<Node>(*pointer);
    }
    return *pointer;
}
} // namespace

Tree::Tree() : root_(std::make_shared<Node>()) {
    root_->permissions = {Permission{0, 'n'}};
}

const Node* find_below(const Node& top, std::string_view relative) {
    const Node* node = &top;
    for (auto name = next_component(relative); !name.empty(); name = next_component(relative)) {
        const auto child = node->children.find(name);
        if (child == node->children.end()) {
            return nullptr;
        }
        node = child->second.get();
    }
    return node;
}

const Node* Tree::find(std::string_view path) const {
    return find_below(*root_, path);
}

const Node* Tree::find_nearest(std::string_view path, std::string_view& nearest_path) const {
    const Node* node = root_.get();
    nearest_path = path.substr(0, 1);
    std::string_view rest = path;
    for (auto name = next_component(rest); !name.empty(); name = next_component(rest)) {
        const auto child = node->children.find(name);
        if (child == node->children.end()) {
            break;
        }
        node = child->second.get();
        nearest_path = path.substr(0, path.size() - rest.size());
    }
    return node;
}

Node& Tree::edit(std::string_view path) {
    Node* node = &own(root_);
    for (auto name = next_component(path); !name.empty(); name = next_component(path)) {
        node = &own(node->children.find(name)->second);
    }
    return *node;
}

Node& Tree::add(std::string_view path, Node node, std::uint64_t generation) {
    Node& parent = edit(parent_of(path));
    parent.children_generation = generation;
    parent.writer = node.writer;
    node.generation = node.children_generation = generation;
    auto& child = parent.children[std::string(path.substr(path.rfind('/') + 1))];
    child = std::make_shared<Node>(std::move(node));
    return *child;
}

std::shared_ptr<Node> Tree::remove(std::string_view path, std::uint64_t generation, std::uint16_t writer) {
    Node& parent = edit(parent_of(path));
    parent.children_generation = generation;
    parent.writer = writer;
    const auto child = parent.children.find(path.substr(path.rfind('/') + 1));
    auto removed = std::move(child->second);
    parent.children.erase(child);
    return removed;
}

void for_each(const Node& top, const std::string& path,
              const std::function<void(const std::string&, const Node&)>& visit) {
    visit(path, top);
    for (const auto& [name, child] : top.children) {
        for_each(*child, path == "/" ? path + name : path + "/" + name, visit);
    }
}

} // namespace domus::xenstore::tree
