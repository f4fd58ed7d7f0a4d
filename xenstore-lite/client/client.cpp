// The requests of the wire protocol as coroutines. See client.hpp.
#include "xenstore-lite/client/client.hpp"

#include <boost/asio/this_coro.hpp>

#include <cstdlib>

#include "xenstore-lite/client/connection.hpp"

namespace domus::xenstore {

namespace {
std::string with_nul(std::string text) {
    text.push_back('\0');
    return text;
}

std::string first_string(const std::string& payload) {
    return payload.substr(0, payload.find('\0'));
}

[[noreturn]] void protocol_failure(const std::string& what) {
    throw boost::system::system_error(EPROTO, boost::system::generic_category(), what + ": malformed reply");
}
} // namespace

std::string default_socket() {
    if (const char* path = std::getenv("XENSTORED_PATH")) {
        return path;
    }
    const char* folder = std::getenv("XENSTORED_RUNDIR");
    return std::string(folder ? folder : "/var/run/xenstored") + "/socket";
}

Watch::Watch(std::shared_ptr<Connection> connection, std::string path, std::string token)
    : connection_(std::move(connection)), path_(std::move(path)), token_(std::move(token)) {}

Watch::~Watch() {
    connection_->drop_watch(path_, token_);
}

asio::awaitable<std::string> Watch::next() {
    return connection_->next_event(token_);
}

asio::awaitable<std::shared_ptr<Client>> Client::connect(std::string socket_path) {
    auto connection = std::make_shared<Connection>(co_await asio::this_coro::executor, std::move(socket_path));
    co_await connection->open();
    co_return std::make_shared<Client>(std::move(connection));
}

Client::Client(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

Client::~Client() {
    connection_->close();
}

asio::awaitable<std::vector<std::string>> Client::directory(std::string path, Tx tx) {
    const std::string what = "xenstore directory " + path;
    const auto connection = connection_; // the client may be gone when an answer comes
    bool too_long = false;
    try {
        const std::string reply = co_await connection->request(XS_DIRECTORY, tx, with_nul(path), what);
        co_return wire::split(reply);
    } catch (const boost::system::system_error& error) {
        if (error.code().value() != E2BIG) {
            throw;
        }
        too_long = true;
    }
    // In pieces; from the start again whenever the node's generation changes in between.
    std::string names;
    std::string generation;
    while (too_long) {
        std::string payload = with_nul(path);
        payload += with_nul(std::to_string(names.size()));
        const std::string reply = co_await connection->request(XS_DIRECTORY_PART, tx, std::move(payload), what);
        const std::string now = first_string(reply);
        if (now.size() + 1 > reply.size()) {
            protocol_failure(what);
        }
        if (!names.empty() && now != generation) {
            names.clear();
            continue;
        }
        generation = now;
        const std::string piece = reply.substr(now.size() + 1);
        names += piece;
        // The end is an empty piece, or an empty name after the last one.
        if (piece.empty() || piece == std::string(1, '\0') ||
            (piece.size() > 1 && piece.ends_with(std::string(2, '\0')))) {
            names.erase(names.find_last_not_of('\0') == std::string::npos ? 0 : names.find_last_not_of('\0') + 1);
            too_long = false;
        }
    }
    co_return wire::split(names);
}

asio::awaitable<std::string> Client::read(std::string path, Tx tx) {
    return connection_->request(XS_READ, tx, with_nul(path), "xenstore read " + path);
}

asio::awaitable<std::optional<std::string>> Client::try_read(std::string path, Tx tx) {
    try {
        co_return co_await read(std::move(path), tx);
    } catch (const boost::system::system_error& error) {
        if (error.code().value() != ENOENT) {
            throw;
        }
    }
    co_return std::nullopt;
}

namespace {
Connection::Order write_order(const std::string& path, const std::string& value) {
    return {XS_WRITE, with_nul(path) + value, "xenstore write " + path};
}

Connection::Order permissions_order(const std::string& path, const std::vector<Permission>& permissions) {
    std::string payload = with_nul(path);
    for (const auto& permission : permissions) {
        payload += with_nul(wire::to_string(permission));
    }
    return {XS_SET_PERMS, std::move(payload), "xenstore set_perms " + path};
}
} // namespace

asio::awaitable<void> Client::write(std::string path, std::string value, Tx tx) {
    auto order = write_order(path, value);
    co_await connection_->request(order.type, tx, std::move(order.payload), std::move(order.what));
}

asio::awaitable<void> Client::write_nodes(std::vector<Node> nodes, Tx tx) {
    std::vector<Connection::Order> orders;
    for (const Node& node : nodes) {
        orders.push_back(write_order(node.path, node.value));
        if (!node.permissions.empty()) {
            orders.push_back(permissions_order(node.path, node.permissions));
        }
    }
    co_await connection_->request_all(tx, std::move(orders));
}

asio::awaitable<void> Client::mkdir(std::string path, Tx tx) {
    const std::string what = "xenstore mkdir " + path;
    co_await connection_->request(XS_MKDIR, tx, with_nul(std::move(path)), what);
}

asio::awaitable<void> Client::rm(std::string path, Tx tx) {
    const std::string what = "xenstore rm " + path;
    try {
        co_await connection_->request(XS_RM, tx, with_nul(std::move(path)), what);
    } catch (const boost::system::system_error& error) {
        if (error.code().value() != ENOENT) {
            throw;
        }
    }
}

asio::awaitable<std::vector<Permission>> Client::get_permissions(std::string path, Tx tx) {
    const std::string what = "xenstore get_perms " + path;
    const std::string reply = co_await connection_->request(XS_GET_PERMS, tx, with_nul(std::move(path)), what);
    std::vector<Permission> permissions;
    for (const auto& text : wire::split(reply)) {
        const auto permission = wire::parse_permission(text);
        if (!permission) {
            protocol_failure(what);
        }
        permissions.push_back(*permission);
    }
    co_return permissions;
}

asio::awaitable<void> Client::set_permissions(std::string path, std::vector<Permission> permissions, Tx tx) {
    auto order = permissions_order(path, permissions);
    co_await connection_->request(order.type, tx, std::move(order.payload), std::move(order.what));
}

asio::awaitable<Tx> Client::transaction_start() {
    return connection_->transaction_start();
}

asio::awaitable<bool> Client::transaction_end(Tx tx, bool commit) {
    return connection_->transaction_end(tx, commit);
}

asio::awaitable<std::shared_ptr<Watch>> Client::watch(std::string path) {
    const std::string token = connection_->new_token();
    const auto connection = connection_; // the client may be gone when the answer comes
    co_await connection->add_watch(path, token);
    co_return std::make_shared<Watch>(connection, path, token);
}

asio::awaitable<void> Client::introduce(std::uint16_t domid, std::uint64_t mfn, std::uint32_t port) {
    const std::string id = std::to_string(domid);
    std::string payload = with_nul(id) + with_nul(std::to_string(mfn)) + with_nul(std::to_string(port));
    co_await connection_->request(XS_INTRODUCE, 0, std::move(payload), "xenstore introduce domain " + id);
}

asio::awaitable<void> Client::release(std::uint16_t domid) {
    const std::string id = std::to_string(domid);
    co_await connection_->request(XS_RELEASE, 0, with_nul(id), "xenstore release domain " + id);
}

asio::awaitable<void> Client::set_target(std::uint16_t domid, std::uint16_t target) {
    const std::string id = std::to_string(domid);
    std::string payload = with_nul(id) + with_nul(std::to_string(target));
    co_await connection_->request(XS_SET_TARGET, 0, std::move(payload), "xenstore set_target domain " + id);
}

asio::awaitable<std::string> Client::domain_path(std::uint16_t domid) {
    const std::string id = std::to_string(domid);
    const std::string reply =
        co_await connection_->request(XS_GET_DOMAIN_PATH, 0, with_nul(id), "xenstore get_domain_path " + id);
    co_return first_string(reply);
}

asio::awaitable<bool> Client::is_introduced(std::uint16_t domid) {
    const std::string id = std::to_string(domid);
    const std::string reply =
        co_await connection_->request(XS_IS_DOMAIN_INTRODUCED, 0, with_nul(id), "xenstore is_domain_introduced " + id);
    co_return reply.starts_with('T');
}

} // namespace domus::xenstore
