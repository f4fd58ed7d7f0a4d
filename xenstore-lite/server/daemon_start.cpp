// Starting and stopping: journal, rings that were connected in an earlier life, socket. See daemon.hpp.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <spdlog/spdlog.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include "xenstore-lite/server/daemon.hpp"

namespace domus::xenstore::server {

Daemon::Daemon(asio::io_context& context, DaemonOptions options, Platform* platform)
    : context_(context), options_(std::move(options)), platform_(platform), journal_(options_.state_folder),
      store_(*this, options_.limits), acceptor_(context), events_(context), hold_timer_(context) {}

Daemon::~Daemon() {
    stop();
}

void Daemon::stop() {
    alive_.reset();
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    events_.close(ignored);
    hold_timer_.cancel();
    for (auto& [id, socket] : sockets_) {
        socket->close();
    }
    rings_.clear();
    retired_.clear();
}

void Daemon::start() {
    load_journal();
    if (platform_) {
        exit_port_ = bind_patiently(0, 0);
        store_.domains_changed(platform_->domains()); // who died while nobody looked
        take_up_rings();
        connect_own_kernel();
        events_.assign(dup(platform_->event_fd()));
        asio::co_spawn(context_, event_loop(), asio::detached);
    }
    batch_.clear(); // the compact journal says it all
    write_compact();
    for (const auto& [domid, ring] : rings_) {
        work_later(domid);
    }
    open_socket();
    asio::co_spawn(context_, accept_loop(), asio::detached);
}

void Daemon::load_journal() {
    using Kind = tree::Record::Kind;
    const auto apply = [this](const tree::Record& record) {
        store_.restore(record);
        const auto domid = static_cast<std::uint16_t>(record.id);
        if (record.kind == Kind::introduce || record.kind == Kind::forget) {
            memories_.erase(domid);
        } else if (record.kind == Kind::ring || record.kind == Kind::input || record.kind == Kind::output) {
            memories_[domid].apply(record);
        }
    };
    bool loaded = false;
    try {
        loaded = journal_.load(apply);
    } catch (const std::runtime_error& error) {
        throw std::runtime_error("the journal in " + options_.state_folder.string() + " cannot be used (" +
                                 error.what() + "). Move it away and start again; guests then have to be restarted");
    }
    store_.restored();
    if (loaded) {
        spdlog::info("took up the state of an earlier run: {} domains", store_.domains().size());
    } else {
        const std::string tool("/tool/xenstored");
        record({Kind::put, 0, 0, 0, "/tool", {}, {Permission{0, 'n'}}});
        record({Kind::put, 0, 0, 0, tool, {}, {Permission{0, 'n'}}});
        for (const auto& each : std::exchange(batch_, {})) {
            store_.restore(each);
        }
    }
}

Port Daemon::bind_patiently(std::uint16_t domid, std::uint32_t port) {
    // A daemon that was killed a moment ago may still be closing its event channels.
    for (int attempt = 0;; ++attempt) {
        try {
            return port == 0 ? platform_->bind_domain_exit() : platform_->bind(domid, port);
        } catch (const boost::system::system_error&) {
            if (attempt == 100) {
                throw;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    }
}

void Daemon::take_up_rings() {
    for (const auto& [domid, domain] : store_.domains()) {
        if (domid == 0 || domain.dying) {
            continue; // our own kernel: connect_own_kernel()
        }
        try {
            take_up(domid, domain);
        } catch (const boost::system::system_error& error) {
            spdlog::error("domain {} has lost its connection: {}", domid, error.what());
        }
    }
}

void Daemon::take_up(std::uint16_t domid, const tree::Domain& domain) {
    auto page = platform_->map(domid, domain.frame);
    const Port local = bind_patiently(domid, domain.port);
    add_ring(domid, std::make_unique<RingSession>(store_, *platform_, domid, std::move(page), local, memories_[domid]));
}

void Daemon::connect_own_kernel() {
    auto kernel = platform_->own_kernel();
    if (!kernel) {
        return;
    }
    const bool known = store_.domains().contains(0) && store_.domains().at(0).port == kernel->port;
    const Port local = bind_patiently(0, kernel->port);
    if (known && memories_.contains(0)) {
        add_ring(0,
                 std::make_unique<RingSession>(store_, *platform_, 0, std::move(kernel->page), local, memories_.at(0)));
        return;
    }
    store_.introduce_own_kernel(kernel->port);
    add_ring(0, std::make_unique<RingSession>(store_, *platform_, 0, std::move(kernel->page), local));
}

void Daemon::open_socket() {
    using std::filesystem::perms;
    if (std::filesystem::create_directories(options_.socket.parent_path())) { // whatever the umask
        std::filesystem::permissions(options_.socket.parent_path(), perms::group_exec | perms::others_exec,
                                     std::filesystem::perm_options::add);
    }
    std::filesystem::remove(options_.socket); // left by a run that was killed; the pid file tells who is alive
    const asio::local::stream_protocol::endpoint endpoint(options_.socket.string());
    acceptor_.open();
    const auto before = umask(0111); // who connects is judged by his user (peer.hpp)
    boost::system::error_code error;
    acceptor_.bind(endpoint, error);
    umask(before);
    if (error) {
        throw std::runtime_error("cannot open the socket " + options_.socket.string() + ": " + error.message());
    }
    acceptor_.listen();
}

} // namespace domus::xenstore::server
