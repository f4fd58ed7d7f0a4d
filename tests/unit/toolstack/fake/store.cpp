// A xenstore daemon in the test's own process. See store.hpp.
#include <utility>

#include "tests/unit/toolstack/fake/store.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace domus::engine::test {

namespace asio = boost::asio;
namespace tree = xenstore::tree;
namespace wire = xenstore::wire;

namespace {
constexpr tree::ConnectionId kernel = tree::first_socket, engine = tree::first_socket + 1;
}

StoreServer::StoreServer(asio::io_context& io, const std::string& path, Faults& faults)
    : faults_(faults), store_(*this, tree::Limits{}), acceptor_(io, asio::local::stream_protocol::endpoint(path)),
      last_id_(kernel) {
    store_.open(kernel, 0);
    asio::co_spawn(io, accept_loop(), asio::detached);
}

StoreServer::~StoreServer() {
    acceptor_.close();
    for (const auto& [id, weak] : sockets_)
        if (const auto socket = weak.lock())
            socket->close();
}

asio::awaitable<void> StoreServer::accept_loop() {
    for (;;) {
        auto [failed, socket] = co_await acceptor_.async_accept(asio::as_tuple(asio::use_awaitable));
        if (failed)
            co_return;
        const auto shared = std::make_shared<Socket>(std::move(socket));
        const tree::ConnectionId id = ++last_id_;
        sockets_[id] = shared;
        store_.open(id, 0);
        asio::co_spawn(acceptor_.get_executor(), serve(id, shared), asio::detached);
    }
}

asio::awaitable<void> StoreServer::serve(tree::ConnectionId id, std::shared_ptr<Socket> socket) {
    wire::Decoder decoder;
    std::array<char, 4096> bytes;
    for (;;) {
        const auto [failed, count] =
            co_await socket->async_read_some(asio::buffer(bytes), asio::as_tuple(asio::use_awaitable));
        if (failed)
            co_return; // the store may be gone already: nothing of it is touched
        decoder.feed({bytes.data(), count});
        while (const auto message = decoder.next())
            handle(id, *message);
    }
}

void StoreServer::handle(tree::ConnectionId id, const wire::Message& request) {
    const bool fails = id == engine && request.type != XS_TRANSACTION_END && request.type != XS_UNWATCH &&
                       faults_.strikes("xenstore " + std::string(wire::type_name(request.type)) + " " +
                                       request.payload.substr(0, request.payload.find('\0')));
    if (fails)
        return deliver(id, {XS_ERROR, request.req_id, request.tx_id, std::string("EIO\0", 4)});
    store_.handle(id, request);
    if (request.tx_id == 0 || request.type == XS_TRANSACTION_END)
        react();
}

void StoreServer::react() {
    if (!changed || reacting_)
        return;
    reacting_ = true;
    changed();
    reacting_ = false;
}

void StoreServer::deliver(tree::ConnectionId id, const wire::Message& message) {
    const auto found = sockets_.find(id);
    const auto socket = found == sockets_.end() ? nullptr : found->second.lock();
    if (!socket)
        return;
    boost::system::error_code client_gone;
    asio::write(*socket, asio::buffer(wire::encode(message)), client_gone);
}

std::optional<std::string> StoreServer::read(const std::string& path) const {
    const auto* node = store_.tree().find(path);
    return node ? std::optional(node->value) : std::nullopt;
}

void StoreServer::write(const std::string& path, const std::string& value) {
    store_.handle(kernel, {XS_WRITE, 1, 0, path + '\0' + value});
    react();
}

void StoreServer::remove(const std::string& path) {
    store_.handle(kernel, {XS_RM, 1, 0, path + '\0'});
    react();
}

std::vector<std::string> StoreServer::children(const std::string& path) const {
    std::vector<std::string> names;
    if (const auto* node = store_.tree().find(path))
        for (const auto& [name, child] : node->children)
            names.push_back(name);
    return names;
}

std::map<std::string, std::string> StoreServer::dump() const {
    std::map<std::string, std::string> all;
    tree::for_each(store_.tree().root(), "/", [&](const std::string& path, const tree::Node& node) {
        std::string text = node.value;
        for (const auto& permission : node.permissions)
            text += " " + wire::to_string(permission);
        all.emplace(path, std::move(text));
    });
    return all;
}

} // namespace domus::engine::test
