// The engine with fakes on all sides: hypervisor, dom0's Linux, its backend drivers, the builder, the records; and a
// real store behind a real socket. Owner: a test. No lock: everything runs on one io_context.
#pragma once

#include "tests/unit/toolstack/fake/faults.hpp"
#include "tests/unit/toolstack/fake/host.hpp"
#include "tests/unit/toolstack/fake/hypervisor.hpp"
#include "tests/unit/toolstack/fake/kernel.hpp"
#include "tests/unit/toolstack/fake/store.hpp"
#include "toolstack/engine/engine.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>

namespace domus::engine::test {

class FakeBuilder : public Builder {
public:
    FakeBuilder(Faults& faults, FakeHypervisor& hypervisor) : faults_(faults), hypervisor_(hypervisor) {}
    asio::awaitable<build::Result> build(build::Request request, Progress progress) override;

    build::Request last;
    std::function<asio::awaitable<void>()> meanwhile; // what happens while the builder works, once

private:
    Faults& faults_;
    FakeHypervisor& hypervisor_;
};

class FakeRecords : public RecordStore {
public:
    explicit FakeRecords(Faults& faults) : faults_(faults) {}
    void save(const Record& record) override {
        faults_.step("save record");
        kept[*record.config.uuid] = record;
    }
    void remove(const model::Uuid& uuid) override { kept.erase(uuid); }
    std::vector<Record> load() override {
        std::vector<Record> all;
        for (const auto& [uuid, record] : kept)
            all.push_back(record);
        return all;
    }
    std::map<model::Uuid, Record> kept;

private:
    Faults& faults_;
};

class World {
public:
    explicit World(Patience patience = {});
    ~World();
    World(const World&) = delete;

    /// Runs a coroutine to its end; a test that hangs fails.
    template <class T>
    T run(asio::awaitable<T> work) {
        auto result = asio::co_spawn(io, std::move(work), asio::use_future);
        wait([&] { return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
        return result.get();
    }
    /// The message a coroutine fails with; "" when it does not.
    template <class T>
    std::string failure(asio::awaitable<T> work) {
        try {
            run(std::move(work));
            return "";
        } catch (const std::exception& e) {
            return e.what();
        }
    }
    /// Runs what there is to run until `done`. Throws after 30 s.
    void wait(const std::function<bool()>& done);

    /// A configuration that the world can run: a kernel, a disk, a network card.
    model::Domain guest(const std::string& name) const;
    std::uint16_t create(const model::Domain& config) { return run(engine->create(config, false, {})).domid; }
    /// The guest ends by itself, and everybody hears of it.
    void end(std::uint16_t domid, client::ShutdownReason reason);
    /// The store learns which domains there are.
    void announce_domains();

    /// All that a guest leaves its marks on, to be compared before and after.
    std::map<std::string, std::string> traces() const;
    std::string log() const { return log_->str(); }

    asio::io_context io{1};
    std::string folder;
    Faults faults;
    FakeHypervisor hypervisor{faults};
    FakeHost host{faults};
    FakeBuilder builder{faults, hypervisor};
    FakeRecords records{faults};
    std::unique_ptr<StoreServer> store;
    std::unique_ptr<FakeKernel> kernel;
    std::shared_ptr<xenstore::Client> client;
    std::unique_ptr<Engine> engine;

private:
    std::shared_ptr<std::ostringstream> log_ = std::make_shared<std::ostringstream>();
};

} // namespace domus::engine::test
