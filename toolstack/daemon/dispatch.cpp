// Requests of the API: one function per verb, one table. No lock.
#include <utility>

#include "toolstack/daemon/dispatch.hpp"

#include "toolstack/daemon/reply.hpp"
#include "toolstack/proto/convert.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>

namespace domus::daemon {

namespace {

namespace asio = boost::asio;
using proto::Request;
using proto::Response;
using Answer = asio::awaitable<Response>;
using Handler = Answer (*)(Dispatcher&, const Request&, engine::Progress);

constexpr std::uint32_t longest_wait_s = 24 * 3600;

Response done() {
    Response out;
    out.mutable_done();
    return out;
}

Answer create(Dispatcher& d, const Request& request, engine::Progress stage) {
    model::Domain config = proto::to_model(request.create().config());
    const auto created = co_await d.engine.create(std::move(config), request.create().paused(), std::move(stage));
    Response out;
    out.mutable_created()->set_domid(created.domid);
    out.mutable_created()->set_name(created.name);
    out.mutable_created()->set_uuid(created.uuid);
    co_return out;
}

Answer list(Dispatcher& d, const Request& request, engine::Progress) {
    std::vector<std::uint16_t> wanted;
    for (const auto& name : request.list().domains())
        wanted.push_back(co_await d.engine.resolve(name));
    const auto domains = co_await d.engine.list();
    Response out;
    auto* answer = out.mutable_list();
    for (const auto& domain : domains)
        if (wanted.empty() || std::find(wanted.begin(), wanted.end(), domain.info.domid) != wanted.end())
            *answer->add_domains() = to_proto(domain);
    co_return out;
}

Answer info(Dispatcher& d, const Request&, engine::Progress) {
    Response out;
    *out.mutable_info() =
        to_proto(d.hypervisor.physinfo(), d.hypervisor.version(), d.hypervisor.scheduler_id(), d.host.uname());
    co_return out;
}

Answer power(Dispatcher& d, const Request& request, engine::Progress stage) {
    const auto& ask = request.power();
    const std::uint16_t domid = co_await d.engine.resolve(ask.domain());
    co_await d.engine.power(domid, ask.reboot());
    if (!ask.wait())
        co_return done();
    stage(fmt::format("waiting for domain {} to {}", domid, ask.reboot() ? "reboot" : "power off"));
    const std::uint32_t limit =
        ask.timeout_s() == 0 || ask.timeout_s() > longest_wait_s ? longest_wait_s : ask.timeout_s();
    const bool ended = co_await d.engine.wait_ended(domid, std::chrono::seconds(limit));
    if (!ended)
        throw std::runtime_error(
            fmt::format("domain {} has not ended within {} s; look at its console (domus console {}), or "
                        "end it by domus destroy {}",
                        domid, limit, domid, domid));
    co_return done();
}

Answer destroy(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.destroy().domain());
    co_await d.engine.destroy(domid);
    co_return done();
}

Answer pause(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.pause().domain());
    co_await d.engine.pause(domid);
    co_return done();
}

Answer unpause(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.unpause().domain());
    co_await d.engine.unpause(domid);
    co_return done();
}

Answer mem_set(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.mem_set().domain());
    co_await d.engine.set_memory(domid, request.mem_set().memory_kib());
    co_return done();
}

Answer dmesg(Dispatcher& d, const Request& request, engine::Progress) {
    Response out;
    out.mutable_text()->set_text(as_utf8(d.hypervisor.read_console(request.dmesg().clear())));
    co_return out;
}

Answer perf(Dispatcher& d, const Request& request, engine::Progress) {
    std::optional<std::uint16_t> domid;
    if (!request.perf().domain().empty())
        domid = co_await d.engine.resolve(request.perf().domain());
    if (request.perf().reset()) {
        d.perf.reset_counters();
        co_return done();
    }
    Response out;
    auto* answer = out.mutable_counters();
    if (domid)
        answer->set_domid(*domid);
    for (const auto& counter : d.perf.counters(domid)) {
        auto* to = answer->add_counters();
        to->set_name(as_utf8(counter.name));
        for (const auto value : counter.values)
            to->add_values(value);
    }
    co_return out;
}

Answer resolve(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.resolve().domain());
    const auto domains = co_await d.engine.list();
    Response out;
    out.mutable_id()->set_domid(domid);
    for (const auto& domain : domains)
        if (domain.info.domid == domid)
            out.mutable_id()->set_name(as_utf8(domain.name));
    co_return out;
}

/// `kind`: "vbd" or "vif".
Answer attached(Dispatcher& d, std::string kind, std::uint16_t domid, std::uint32_t devid) {
    Response out;
    out.mutable_attached()->set_devid(devid);
    const std::string number = std::to_string(devid);
    const auto views = co_await d.engine.devices(domid, number);
    for (const auto& view : views)
        if (view.kind.ends_with(kind))
            out.mutable_attached()->set_backend(view.backend);
    co_return out;
}

Answer block_attach(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.block_attach().domain());
    model::Disk disk = proto::to_model(request.block_attach().disk());
    const std::uint32_t devid = co_await d.engine.attach_disk(domid, std::move(disk));
    co_return co_await attached(d, "vbd", domid, devid);
}

Answer network_attach(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.network_attach().domain());
    model::Vif vif = proto::to_model(request.network_attach().vif());
    const std::uint32_t devid = co_await d.engine.attach_vif(domid, std::move(vif));
    co_return co_await attached(d, "vif", domid, devid);
}

Answer block_detach(Dispatcher& d, const Request& request, engine::Progress) {
    const auto& ask = request.block_detach();
    const std::uint16_t domid = co_await d.engine.resolve(ask.domain());
    co_await d.engine.detach(domid, "vbd", ask.device(), ask.force());
    co_return done();
}

Answer block_resize(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.block_resize().domain());
    co_await d.engine.blocks().resize(domid, request.block_resize().device());
    co_return done();
}

Answer network_detach(Dispatcher& d, const Request& request, engine::Progress) {
    const auto& ask = request.network_detach();
    const std::uint16_t domid = co_await d.engine.resolve(ask.domain());
    co_await d.engine.detach(domid, "vif", ask.device(), ask.force());
    co_return done();
}

Answer block_list(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.block_list().domain());
    const auto disks = co_await d.engine.blocks().list(domid);
    Response out;
    auto* answer = out.mutable_blocks();
    for (const auto& disk : disks)
        *answer->add_devices() = to_proto(disk);
    co_return out;
}

Answer network_list(Dispatcher& d, const Request& request, engine::Progress) {
    const std::uint16_t domid = co_await d.engine.resolve(request.network_list().domain());
    const auto cards = co_await d.engine.networks().list(domid);
    Response out;
    auto* answer = out.mutable_networks();
    for (const auto& card : cards)
        *answer->add_devices() = to_proto(card);
    co_return out;
}

Answer devices(Dispatcher& d, const Request& request, engine::Progress) {
    std::optional<std::uint16_t> domid;
    if (!request.devices().domain().empty())
        domid = co_await d.engine.resolve(request.devices().domain());
    else if (!request.devices().device().empty())
        throw std::runtime_error("a device is named, but not whose; name the guest, too");
    const auto views = co_await d.engine.devices(domid, request.devices().device());
    const auto domains = co_await d.engine.list();
    Response out;
    auto* answer = out.mutable_devices();
    for (const auto& view : views) {
        auto* device = answer->add_devices();
        *device = to_proto(view);
        for (const auto& domain : domains)
            if (domain.info.domid == view.id.domid)
                device->set_guest(as_utf8(domain.name));
    }
    co_return out;
}

const std::map<Request::VerbCase, Handler> handlers = {
    {Request::kCreate, create},
    {Request::kList, list},
    {Request::kInfo, info},
    {Request::kPower, power},
    {Request::kDestroy, destroy},
    {Request::kPause, pause},
    {Request::kUnpause, unpause},
    {Request::kMemSet, mem_set},
    {Request::kDmesg, dmesg},
    {Request::kPerf, perf},
    {Request::kResolve, resolve},
    {Request::kBlockAttach, block_attach},
    {Request::kBlockDetach, block_detach},
    {Request::kBlockResize, block_resize},
    {Request::kBlockList, block_list},
    {Request::kNetworkAttach, network_attach},
    {Request::kNetworkDetach, network_detach},
    {Request::kNetworkList, network_list},
    {Request::kDevices, devices},
};

} // namespace

asio::awaitable<Response> Dispatcher::dispatch(const Request& request, engine::Progress stage) {
    const auto handler = handlers.find(request.verb_case());
    if (handler == handlers.end())
        throw std::runtime_error("domusd does not know this request; domus and domusd must come from one build");
    co_return co_await handler->second(*this, request, std::move(stage));
}

asio::awaitable<Response> Dispatcher::answer(Request request, engine::Progress stage) {
    Response out;
    try {
        out = co_await dispatch(request, std::move(stage));
    } catch (const std::exception& e) {
        out.mutable_error()->set_message(as_utf8(e.what()));
    }
    co_return out;
}

} // namespace domus::daemon
