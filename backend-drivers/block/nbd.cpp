// See nbd.hpp.
#include "backend-drivers/block/nbd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <list>
#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "backend-drivers/block/nbd_connection.hpp"

namespace domus::block {
namespace {

constexpr std::uint64_t most_at_once = 1 << 30; // bytes of a command; a request to discard may be longer
constexpr std::chrono::milliseconds longest_open = std::chrono::seconds(8); // the toolstack waits no longer
constexpr std::uint32_t largest_physical = 4096;

/// The disk, and the operations under way. Lives on in handlers until stop().
class Client : public std::enable_shared_from_this<Client> {
public:
    Client(boost::asio::any_io_executor executor, Spec spec, NbdStorages::Times times, std::shared_ptr<Opener> opener)
        : executor_(std::move(executor)), spec_(std::move(spec)), times_(times), opener_(std::move(opener)),
          retry_(executor_), deadline_(executor_) {}

    void connect();
    void stop();
    void start(Io& io);
    bool ready() const { return ready_; }
    const std::string& trouble() const { return trouble_; }
    const std::string& refusal() const { return refusal_; }
    std::uint64_t bytes() const { return bytes_; }
    bool can_discard() const { return can_discard_; }
    std::uint32_t physical() const { return physical_; }

private:
    struct Work {
        Io* io;
        std::uint64_t already = 0, part = 0, covers = 0; ///< covers: of a flush, writes answered before
    };
    void connected();
    void lost(const std::string& reason);
    void ended(void* tag, int error);
    using Works = std::list<Work>;
    void send(Works::iterator work);
    void finish(Works::iterator work, int error);
    void give_up();
    static boost::asio::awaitable<void> connect_there(std::weak_ptr<Client> weak, std::shared_ptr<Opener> opener,
                                                      LocalServer there, Spec spec);
    std::string look_at(const NbdConnection& server);

    boost::asio::any_io_executor executor_;
    Spec spec_;
    NbdStorages::Times times_;
    std::shared_ptr<Opener> opener_;
    boost::asio::steady_timer retry_, deadline_;
    std::shared_ptr<NbdConnection> server_;
    Works works_; ///< begun, not done
    std::string trouble_, refusal_;
    std::uint64_t bytes_ = 0;
    std::uint32_t physical_ = sector_size;
    bool ready_ = false, known_ = false, away_ = false, failing_ = false, stopped_ = false;
    bool can_flush_ = false, can_discard_ = false;
    std::uint64_t written_ = 0, flushed_ = 0; ///< writes answered, and how many of them a flush has covered
    bool doubtful_ = false;                   ///< the connection was lost before a flush had covered them
};

void Client::connect() {
    const auto weak = weak_from_this();
    const auto with = [weak](auto what) {
        if (const auto self = weak.lock(); self && !self->stopped_) {
            what(*self);
        }
    };
    NbdConnection::Told told;
    told.ready = [with] { with([](Client& self) { self.connected(); }); };
    told.lost = [with](const std::string& reason) { with([&](Client& self) { self.lost(reason); }); };
    told.ended = [with](void* tag, int error) { with([&](Client& self) { self.ended(tag, error); }); };
    try {
        server_ = std::make_shared<NbdConnection>(executor_, std::move(told));
        const auto there = opener_ ? local_server(spec_.path) : std::nullopt;
        if (there) {
            boost::asio::co_spawn(executor_, connect_there(weak, opener_, *there, spec_), boost::asio::detached);
        } else {
            server_->connect(spec_.path);
        }
    } catch (const std::exception& error) {
        lost(error.what());
    }
}

/// Goes on without the client, which may be gone when the opener answers.
boost::asio::awaitable<void> Client::connect_there(std::weak_ptr<Client> weak, std::shared_ptr<Opener> opener,
                                                   LocalServer there, Spec spec) {
    Opened opened = co_await opener->open(std::move(spec));
    const auto self = weak.lock();
    if (!self || self->stopped_) {
        co_return;
    }
    std::string trouble;
    try {
        if (opened.descriptor) {
            self->server_->connect(there.name, std::move(opened.descriptor));
        } else {
            trouble = fmt::format("{}: {}", there.socket,
                                  opened.why.empty() ? std::strerror(opened.error) : opened.why.c_str());
        }
    } catch (const std::exception& error) {
        trouble = error.what();
    }
    if (!trouble.empty()) {
        self->lost(trouble);
    }
}

void Client::stop() {
    stopped_ = true;
    retry_.cancel();
    deadline_.cancel();
    if (server_) {
        server_->close();
    }
}

/// What is wrong with the server for good; empty: nothing.
std::string Client::look_at(const NbdConnection& server) {
    const auto size = server.size();
    const auto least = server.block_size(LIBNBD_SIZE_MINIMUM);
    if (least > static_cast<std::int64_t>(sector_size)) {
        return fmt::format("the server takes only blocks of {} bytes, guests write {}; nbdkit has a filter for that: "
                           "nbdkit --filter=blocksize-policy",
                           least, sector_size);
    }
    if (server.read_only() && !spec_.read_only) {
        return "the server lets it only be read; use access=ro";
    }
    const std::uint64_t bytes = size > 0 ? static_cast<std::uint64_t>(size) / sector_size * sector_size : 0;
    if (bytes == 0) {
        return "is smaller than a sector";
    }
    if (known_ && bytes < bytes_) {
        return fmt::format("has become smaller: {} bytes, it was {}", bytes, bytes_);
    }
    if (!known_) {
        bytes_ = bytes;
        const auto preferred = std::clamp<std::int64_t>(server.block_size(LIBNBD_SIZE_PREFERRED), 0, largest_physical);
        physical_ = std::max(static_cast<std::uint32_t>(sector_size), static_cast<std::uint32_t>(preferred));
    }
    can_flush_ = server.can(Kind::Flush);
    can_discard_ = server.can(Kind::Discard) && (!known_ || can_discard_);
    known_ = true;
    return {};
}

void Client::connected() {
    refusal_ = look_at(*server_);
    if (!refusal_.empty()) {
        server_->close();
        lost(refusal_);
        return;
    }
    if (std::exchange(away_, false)) {
        spdlog::info("disk {}: the server is there again", spec_.path);
    }
    ready_ = true;
    failing_ = false;
    trouble_.clear();
    deadline_.cancel();
    // What the earlier connection did not answer; twice does no harm.
    const bool flushes = std::any_of(works_.begin(), works_.end(), [](auto& w) { return w.io->kind == Kind::Flush; });
    for (auto next = works_.begin(); next != works_.end();) {
        send(next++);
    }
    doubtful_ = doubtful_ && !flushes;
}

void Client::lost(const std::string& reason) {
    if (std::exchange(ready_, false)) {
        away_ = true;
        doubtful_ = doubtful_ || written_ != flushed_;
        spdlog::error("disk {}: {}; operations wait up to {} ms for the server", spec_.path, reason,
                      times_.patience.count());
        deadline_.expires_after(times_.patience);
        deadline_.async_wait([weak = weak_from_this()](const auto& stopped) {
            const auto self = weak.lock();
            if (!stopped && self && !self->ready_) {
                self->give_up();
            }
        });
    }
    trouble_ = reason;
    retry_.expires_after(times_.pause);
    retry_.async_wait([weak = weak_from_this()](const auto& stopped) {
        const auto self = weak.lock();
        if (!stopped && self && !self->stopped_) {
            self->connect();
        }
    });
}

void Client::give_up() {
    spdlog::error("disk {}: the server does not come back ({}); operations fail until it does", spec_.path, trouble_);
    failing_ = true;
    while (!works_.empty()) {
        finish(works_.begin(), -EIO);
    }
}

void Client::start(Io& io) {
    if (failing_) {
        io.done(-EIO);
        return;
    }
    works_.push_back({&io});
    if (ready_) {
        send(std::prev(works_.end()));
        doubtful_ = doubtful_ && io.kind != Kind::Flush;
    }
}

void Client::send(Works::iterator work) {
    const Io& io = *work->io;
    if (io.kind == Kind::Flush && doubtful_) {
        finish(work, -EIO); // a server that died may have lost what it had answered but not yet stored
        flushed_ = written_;
    } else if (io.kind == Kind::Flush && !can_flush_) {
        finish(work, -EOPNOTSUPP);
    } else {
        work->covers = written_;
        work->part = std::min(io.length - work->already, most_at_once);
        server_->send(io, work->already, work->part, &*work);
    }
}

void Client::ended(void* tag, int error) {
    const auto work = std::find_if(works_.begin(), works_.end(), [&](const Work& other) { return &other == tag; });
    if (work == works_.end()) {
        return;
    }
    work->already += work->part;
    if (error == 0 && work->already < work->io->length) {
        send(work);
    } else {
        finish(work, error);
    }
}

void Client::finish(Works::iterator work, int error) {
    Io& io = *work->io;
    if (error == 0 && io.kind == Kind::Write) {
        ++written_;
    } else if (error == 0 && io.kind == Kind::Flush) {
        flushed_ = std::max(flushed_, work->covers);
    }
    works_.erase(work);
    io.done(error);
}

class NbdStorage final : public Storage {
public:
    NbdStorage(std::shared_ptr<Client> client, Medium medium) : client_(std::move(client)), medium_(medium) {}
    ~NbdStorage() override { client_->stop(); }
    Medium medium() const override { return medium_; }
    void measure() override { throw std::runtime_error("an NBD server says its size only once, when connecting"); }
    std::uint32_t physical_sector() const override { return client_->physical(); }
    std::uint32_t discard_granularity() const override { return page_size; }
    void start(Io& io) override { client_->start(io); }
    void submit() override {}

private:
    std::shared_ptr<Client> client_;
    Medium medium_;
};

} // namespace

boost::asio::awaitable<std::unique_ptr<Storage>> NbdStorages::open(Spec spec) {
    auto client = std::make_shared<Client>(executor_, spec, times_, opener_);
    client->connect();
    boost::asio::steady_timer timer(executor_);
    const auto end = std::chrono::steady_clock::now() + std::min(times_.patience, longest_open);
    while (!client->ready()) {
        const bool late = std::chrono::steady_clock::now() > end;
        if (late || !client->refusal().empty()) {
            const std::string why = client->refusal().empty() ? client->trouble() : client->refusal();
            client->stop();
            throw std::runtime_error(
                fmt::format("disk {}: {}", spec.path, why.empty() ? "the server does not answer" : why));
        }
        timer.expires_after(std::chrono::milliseconds(5));
        co_await timer.async_wait(boost::asio::use_awaitable);
    }
    co_return std::make_unique<NbdStorage>(
        client, Medium{client->bytes(), spec.read_only, spec.discard && !spec.read_only && client->can_discard()});
}

} // namespace domus::block
