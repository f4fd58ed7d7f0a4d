// create, config-check, console. No lock.
#include "toolstack/cli/verbs.hpp"
#include "toolstack/model/config.hpp"
#include "toolstack/proto/convert.hpp"

#ifdef DOMUS_HAVE_CONSOLE
#include "backend-drivers/console/attach.hpp"
#endif

#include <cstdio>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::cli {

namespace {

int attach_console(const Context& context, std::uint32_t domid) {
#ifdef DOMUS_HAVE_CONSOLE
    const auto number = std::uint16_t(domid);
    const auto& path = context.console_socket;
    return path.empty() ? console::attach_terminal(number) : console::attach_terminal(number, path);
#else
    throw std::runtime_error(
        fmt::format("this build has no console client; use another way to reach domain {}'s console", domid));
#endif
}

struct CreateOptions {
    std::string file;
    std::vector<std::string> overrides;
    bool console = false, paused = false;
};

void show_warnings(const std::vector<std::string>& warnings) {
    for (const auto& warning : warnings)
        fmt::print(stderr, "{}\n", warning);
}

void create(Context& context, const CreateOptions& ask) {
    const auto parsed = model::load_config(ask.file, ask.overrides);
    show_warnings(parsed.warnings);
    proto::Request request;
    *request.mutable_create()->mutable_config() = proto::to_proto(parsed.domain);
    request.mutable_create()->set_paused(ask.paused);
    const auto response = context.call(request);
    const auto& created = response.created();
    context.print(created, fmt::format("{} is domain {}{}, created in {:.2f} s\n", created.name(), created.domid(),
                                       ask.paused ? " (paused)" : "", created.seconds()));
    std::fflush(stdout);
    if (ask.console)
        context.status = attach_console(context, created.domid());
}

void check(Context& context, const CreateOptions& ask) {
    const auto parsed = model::load_config(ask.file, ask.overrides);
    proto::ConfigCheck answer;
    *answer.mutable_config() = proto::to_proto(parsed.domain);
    for (const auto& warning : parsed.warnings)
        answer.add_warnings(warning);
    if (!context.json)
        show_warnings(parsed.warnings);
    const auto& domain = parsed.domain;
    context.print(answer, fmt::format("{}: good: guest {}, {} MiB, {} vcpus, {} disks, {} network cards\n", ask.file,
                                      domain.name, domain.memory_kib / 1024, domain.vcpus, domain.disks.size(),
                                      domain.vifs.size()));
}

std::shared_ptr<CreateOptions> add_file(CLI::App* verb) {
    auto ask = std::make_shared<CreateOptions>();
    verb->add_option("FILE", ask->file, "Configuration file in xl's syntax")->required();
    verb->add_option("SETTING", ask->overrides, "Settings that replace the file's: memory=512");
    return ask;
}

} // namespace

void add_create_verbs(CLI::App& app, Context& context) {
    CLI::App* verb = add_verb(app, context, "create", "Create a guest from a configuration file and start it");
    const auto ask = add_file(verb);
    verb->add_flag("-c,--console", ask->console, "Attach to its console");
    verb->add_flag("-p,--paused", ask->paused, "Leave it paused");
    verb->callback([&context, ask] { create(context, *ask); });

    CLI::App* checker =
        add_verb(app, context, "config-check", "Read a configuration file and say what is wrong with it");
    const auto file = add_file(checker);
    checker->callback([&context, file] { check(context, *file); });

    CLI::App* console = add_verb(app, context, "console", "Attach to a guest's console (leave by ctrl-])");
    auto domain = std::make_shared<std::string>();
    console->add_option("DOMAIN", *domain, "Name or number of the guest")->required();
    console->callback([&context, domain] {
        proto::Request request;
        request.mutable_resolve()->set_domain(*domain);
        const auto response = context.call(request);
        if (context.json) // a terminal is no JSON: say whose console it would be
            return context.print(response.id(), "");
        context.status = attach_console(context, response.id().domid());
    });
}

} // namespace domus::cli
