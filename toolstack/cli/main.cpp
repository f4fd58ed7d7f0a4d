// domus: the command line over domusd. Every verb is one request; errors go to standard error with exit status 1, 2
// when the command line itself is not understood.
#include "toolstack/cli/verbs.hpp"
#include "toolstack/model/text.hpp"
#include "toolstack/proto/frame.hpp"
#include "toolstack/proto/json.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>

namespace {

using namespace domus;

/// 2, after a message: this command line means nothing.
int misunderstood(const CLI::App& app, const CLI::ParseError& error) {
    const auto words = app.remaining();
    if (error.get_exit_code() == 0)
        return app.exit(error); // --help
    if (!app.get_subcommands().empty() || words.empty() || words[0].starts_with('-')) {
        const auto verbs = app.get_subcommands();
        const std::string name = verbs.empty() ? "domus" : "domus " + verbs[0]->get_name();
        fmt::print(stderr, "{}: {}; {} --help shows what it takes\n", name, error.what(), name);
        return 2;
    }
    std::vector<std::string> names;
    for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(verb->get_name());
    const auto near = model::nearest(words[0], {names.begin(), names.end()});
    fmt::print(stderr, "domus: there is no verb {}{}; domus --help lists them\n", model::in_quotes(words[0]),
               near.empty() ? "" : fmt::format(", did you mean {}", model::in_quotes(near)));
    return 2;
}

bool is_utf8(std::string_view text) {
    for (std::size_t length = 0; !text.empty(); text.remove_prefix(length)) {
        length = model::utf8_length(text);
        if (length == 0)
            return false;
    }
    return true;
}

int failed(const cli::Context& context, const std::string& message) {
    if (context.json) {
        proto::Error error;
        error.set_message(message);
        fmt::print("{{\"error\": {}}}\n", proto::to_json(error));
    }
    fmt::print(stderr, "domus: {}\n", message);
    return 1;
}

} // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; ++i) {
        if (!is_utf8(argv[i])) { // names and paths travel as protobuf's strings
            fmt::print(stderr, "domus: argument {} is not UTF-8 text; write it in UTF-8\n", i);
            return 2;
        }
    }
    cli::Context context;
    context.socket = std::string(proto::kDefaultSocket);
    CLI::App app{"domus: create and manage guests of the Domus hypervisor (or of Xen)"};
    app.add_option("--socket", context.socket, "Where domusd listens")->capture_default_str();
    app.add_option("--console-socket", context.console_socket,
                   "Where domus-consoled listens, if not where it does by itself");
    app.set_version_flag("--version", fmt::format("domus {}", DOMUS_VERSION), "Print the version and end");
    app.require_subcommand(1);
    cli::add_create_verbs(app, context);
    cli::add_domain_verbs(app, context);
    cli::add_device_verbs(app, context);
    cli::add_figure_verbs(app, context);
    cli::add_new_guest_verb(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return misunderstood(app, e);
    } catch (const std::exception& e) {
        return failed(context, e.what());
    }
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        fmt::print(stderr, "domus: the answer could not be written: {}\n", std::strerror(errno));
        context.status = 1;
    }
    std::_Exit(context.status); // taking verbs and messages apart would only keep the caller waiting
}
