// See bus.hpp.
#include "tests/bus/bus.hpp"

#include "hypervisor/core/events.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace domus::bus {
namespace {

using Permissions = std::vector<xenstore::Permission>;

std::filesystem::path make_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "domus-bus-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
        throw std::runtime_error("no temporary folder");
    return name;
}

xenstore::server::DaemonOptions options(const std::filesystem::path& folder) {
    xenstore::server::DaemonOptions options;
    options.socket = folder / "socket";
    options.state_folder = folder / "state";
    return options;
}

asio::awaitable<void> introduce(std::shared_ptr<xenstore::Client> store, std::uint16_t domid, Mfn frame, u32 port) {
    const std::string home = fmt::format("/local/domain/{}", domid);
    co_await store->mkdir(home);
    Permissions own;
    own.push_back({domid, 'n'});
    co_await store->set_permissions(home, own);
    co_await store->write(home + "/domid", std::to_string(domid)); // permissions are its home's
    co_await store->introduce(domid, frame.n, port);
}

} // namespace

Bus::Bus()
    : dom0_(machine_.make_domain(0, 1, true)), folder_(make_folder()), events_(machine_, dom0_, noter()),
      platform_(events_, domains_),
      daemon_(std::make_unique<xenstore::server::Daemon>(io, options(folder_), &platform_)),
      grants_(std::make_shared<BackendGrants>(machine_, dom0_, faults, noter())),
      access_{grants_,
              std::make_shared<client::EventChannels>(io.get_executor(), std::make_unique<BackendEvents>(events_))} {
    daemon_->start();
    store_ = run(xenstore::Client::connect((folder_ / "socket").string()));
}

Bus::~Bus() {
    for (auto& served : served_)
        served.device->stop();
    settle();
    served_.clear();
    while (!guests_.empty())
        kill(*guests_.front());
    settle();
    store_.reset();
    settle();
    daemon_.reset();
    access_ = {};
    settle();
    grants_.reset();
    std::filesystem::remove_all(folder_);
}

Trace Bus::noter() {
    return [this](std::string line) { note(std::move(line)); };
}

void Bus::note(std::string line) {
    static const bool aloud = std::getenv("DOMUS_BUS_TRACE") != nullptr;
    if (aloud)
        fmt::print(stderr, "{:4} {}\n", trace_.size(), line);
    trace_.push_back(std::move(line));
}

Guest& Bus::boot() {
    auto& guest = *guests_.emplace_back(std::make_unique<Guest>(machine_, ++last_domid_, noter()));
    domains_[guest.domid] = &guest.domain;
    run(introduce(store_, guest.domid, guest.store_frame, guest.store_port));
    return guest;
}

void Bus::kill(Guest& guest) {
    Domain& domain = guest.domain;
    note(fmt::format("guest {} dies", guest.domid));
    domains_.erase(guest.domid);
    std::erase_if(guests_, [&](const auto& one) { return one.get() == &guest; });
    machine_.kill(domain);
    dom0_.events.raise_global_virq(VIRQ_DOM_EXC);
}

backend::DeviceId Bus::plug(Guest& guest, const std::string& kind, const std::string& type, std::uint32_t devid,
                            const Nodes& more) {
    const backend::DeviceId id{"/local/domain/0", type, guest.domid, devid};
    const std::string front = fmt::format("/local/domain/{}/device/{}/{}", guest.domid, kind, devid);
    std::vector<xenstore::Client::Node> nodes;
    const auto add = [&](const std::string& path, const std::string& value, std::uint16_t owner, std::uint16_t reader) {
        nodes.push_back({path, value, {{owner, 'n'}, {reader, 'r'}}});
    };
    add(id.path(), "", 0, guest.domid);
    add(id.path() + "/frontend", front, 0, guest.domid);
    add(id.path() + "/frontend-id", std::to_string(guest.domid), 0, guest.domid);
    add(id.path() + "/online", "1", 0, guest.domid);
    for (const auto& [name, value] : more)
        add(id.path() + "/" + name, value, 0, guest.domid);
    add(id.path() + "/state", "1", 0, guest.domid);
    add(front, "", guest.domid, 0);
    add(front + "/backend", id.path(), guest.domid, 0);
    add(front + "/backend-id", "0", guest.domid, 0);
    add(front + "/state", "1", guest.domid, 0);
    run(store_->write_nodes(nodes));
    return id;
}

void Bus::unplug(const backend::DeviceId& id, const std::string& kind) {
    run(store_->rm(fmt::format("/local/domain/{}/device/{}/{}", id.domid, kind, id.devid)));
    run(store_->rm(id.path()));
}

backend::Device& Bus::serve(const backend::DeviceId& id, backend::Device::MakeDriver make) {
    auto& served = served_.emplace_back();
    served.device = std::make_unique<backend::Device>(store_, access_, id, std::move(make));
    asio::co_spawn(io, served.device->run(), [this, &served](const std::exception_ptr& thrown) {
        served.ended = true;
        if (thrown)
            failure_ = thrown;
    });
    return *served.device;
}

bool Bus::step() {
    bool any = events_.deliver();
    for (const auto& guest : guests_)
        any |= guest->run();
    io.restart();
    any |= io.poll_one() != 0;
    std::erase_if(served_, [](const auto& served) { return served.ended; });
    if (failure_)
        std::rethrow_exception(std::exchange(failure_, nullptr));
    return any;
}

void Bus::settle() {
    while (step())
        continue;
}

bool Bus::until(const std::function<bool()>& so) {
    while (!so())
        if (!step())
            return so();
    return true;
}

void Bus::start(asio::awaitable<void> work) {
    asio::co_spawn(io, std::move(work), [this](const std::exception_ptr& thrown) {
        if (thrown)
            failure_ = thrown;
    });
}

void Bus::run(asio::awaitable<void> work) {
    bool done = false;
    start([](asio::awaitable<void> given, bool& out) -> asio::awaitable<void> {
        co_await std::move(given);
        out = true;
    }(std::move(work), done));
    if (!until([&] { return done; }))
        throw std::runtime_error("a coroutine of dom0's came to no end");
}

std::optional<std::string> Bus::read(const std::string& path) {
    return run(store_->try_read(path));
}
void Bus::write(const std::string& path, const std::string& value) {
    run(store_->write(path, value));
}

} // namespace domus::bus
