// Verbs about guests and the machine. No lock.
#include "toolstack/cli/verbs.hpp"

#include "toolstack/cli/columns.hpp"
#include "toolstack/cli/size.hpp"
#include "toolstack/proto/json.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <functional>

namespace domus::cli {

CallOptions Context::options() const {
    CallOptions out;
    out.socket = socket;
    if (!json)
        out.stage = [](const std::string& text, double seconds) {
            fmt::print(stderr, "[{:6.2f} s] {}\n", seconds, text);
            std::fflush(stderr);
        };
    return out;
}

void Context::print(const google::protobuf::Message& message, const std::string& text) const {
    const std::string out = json ? proto::to_json(message) : text;
    std::fwrite(out.data(), 1, out.size(), stdout);
}

CLI::App* add_verb(CLI::App& app, Context& context, const std::string& name, const std::string& help) {
    CLI::App* verb = app.add_subcommand(name, help);
    verb->add_flag("--json", context.json, "Answer in JSON (toolstack/proto/domus.proto is the schema)");
    return verb;
}

namespace {

/// A verb that takes a guest and answers "done" or an error.
void add_simple(CLI::App& app, Context& context, const std::string& name, const std::string& help,
                proto::Target* (proto::Request::*field)()) {
    CLI::App* verb = add_verb(app, context, name, help);
    auto domain = std::make_shared<std::string>();
    verb->add_option("DOMAIN", *domain, "Name or number of the guest")->required();
    verb->callback([&context, domain, field] {
        proto::Request request;
        (request.*field)()->set_domain(*domain);
        context.print(context.call(request).done(), "");
    });
}

void add_list(CLI::App& app, Context& context) {
    CLI::App* verb =
        add_verb(app, context, "list",
                 "Guests, with memory, vcpus, state (running, blocked, paused, shut down, crashed, dying) and time");
    auto domains = std::make_shared<std::vector<std::string>>();
    verb->add_option("DOMAIN", *domains, "Only these");
    verb->callback([&context, domains] {
        proto::Request request;
        request.mutable_list();
        for (const auto& domain : *domains)
            request.mutable_list()->add_domains(domain);
        const auto response = context.call(request);
        context.print(response.list(), list_text(response.list()));
    });
}

void add_info(CLI::App& app, Context& context) {
    add_verb(app, context, "info", "The machine and its hypervisor")->callback([&context] {
        proto::Request request;
        request.mutable_info();
        const auto response = context.call(request);
        context.print(response.info(), info_text(response.info()));
    });
}

void add_power(CLI::App& app, Context& context, const std::string& name, bool reboot) {
    CLI::App* verb = add_verb(app, context, name, reboot ? "Ask a guest to reboot" : "Ask a guest to power off");
    auto domain = std::make_shared<std::string>();
    auto wait = std::make_shared<bool>(false);
    auto limit = std::make_shared<std::uint32_t>(0);
    verb->add_option("DOMAIN", *domain, "Name or number of the guest")->required();
    verb->add_flag("-w,--wait", *wait, "Return when the guest has done so");
    verb->add_option("--timeout", *limit, "With -w: give up after so many seconds");
    verb->callback([&context, domain, wait, limit, reboot] {
        proto::Request request;
        request.mutable_power()->set_domain(*domain);
        request.mutable_power()->set_reboot(reboot);
        request.mutable_power()->set_wait(*wait);
        request.mutable_power()->set_timeout_s(*limit);
        context.print(context.call(request).done(), "");
    });
}

void add_mem_set(CLI::App& app, Context& context) {
    CLI::App* verb = add_verb(app, context, "mem-set", "Give a guest more or less memory (up to its maxmem)");
    auto domain = std::make_shared<std::string>();
    auto size = std::make_shared<std::string>();
    verb->add_option("DOMAIN", *domain, "Name or number of the guest")->required();
    verb->add_option("MEMORY", *size, "MiB, or with a unit: 512m, 2g")->required();
    verb->callback([&context, domain, size] {
        proto::Request request;
        request.mutable_mem_set()->set_domain(*domain);
        request.mutable_mem_set()->set_memory_kib(parse_memory_kib(*size));
        context.print(context.call(request).done(), "");
    });
}

void add_dmesg(CLI::App& app, Context& context) {
    CLI::App* verb = add_verb(app, context, "dmesg", "The hypervisor's own log");
    auto clear = std::make_shared<bool>(false);
    verb->add_flag("-c,--clear", *clear, "Empty it afterwards");
    verb->callback([&context, clear] {
        proto::Request request;
        request.mutable_dmesg()->set_clear(*clear);
        const auto response = context.call(request);
        context.print(response.text(), response.text().text());
    });
}

void add_perf(CLI::App& app, Context& context) {
    CLI::App* verb = add_verb(app, context, "perf", "Counters per hypercall and trap, of the machine or of one guest");
    auto domain = std::make_shared<std::string>();
    auto reset = std::make_shared<bool>(false);
    verb->add_option("DOMAIN", *domain, "Name or number of a guest; without it the whole machine");
    verb->add_flag("--reset", *reset, "Set the counters to zero");
    verb->callback([&context, domain, reset] {
        proto::Request request;
        request.mutable_perf()->set_domain(*domain);
        request.mutable_perf()->set_reset(*reset);
        const auto response = context.call(request);
        if (response.has_done())
            context.print(response.done(), "");
        else
            context.print(response.counters(), counters_text(response.counters()));
    });
}

void add_resolve(CLI::App& app, Context& context, const std::string& name, const std::string& help, bool want_name) {
    CLI::App* verb = add_verb(app, context, name, help);
    auto domain = std::make_shared<std::string>();
    verb->add_option("DOMAIN", *domain, want_name ? "Number of the guest" : "Name of the guest")->required();
    verb->callback([&context, domain, want_name] {
        proto::Request request;
        request.mutable_resolve()->set_domain(*domain);
        const auto response = context.call(request);
        const auto& id = response.id();
        context.print(id, (want_name ? id.name() : std::to_string(id.domid())) + "\n");
    });
}

} // namespace

void add_domain_verbs(CLI::App& app, Context& context) {
    add_list(app, context);
    add_info(app, context);
    add_power(app, context, "shutdown", false);
    add_power(app, context, "reboot", true);
    add_simple(app, context, "destroy", "End a guest at once", &proto::Request::mutable_destroy);
    add_simple(app, context, "pause", "Stop a guest's vcpus", &proto::Request::mutable_pause);
    add_simple(app, context, "unpause", "Let a paused guest go on", &proto::Request::mutable_unpause);
    add_mem_set(app, context);
    add_dmesg(app, context);
    add_perf(app, context);
    add_resolve(app, context, "domid", "The number of a guest", false);
    add_resolve(app, context, "domname", "The name of a guest", true);
}

} // namespace domus::cli
