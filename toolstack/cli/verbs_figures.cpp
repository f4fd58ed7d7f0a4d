// Looking at devices while they work: ring and device-stats. No lock.
#include "toolstack/cli/figures.hpp"
#include "toolstack/cli/verbs.hpp"

#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <optional>
#include <thread>
#include <unistd.h>

namespace domus::cli {

namespace {

struct Looking {
    std::string domain, device;
    bool watch = false;
    double interval = 1;
    unsigned times = 0; ///< looks of --watch; 0: until it is ended
};

std::shared_ptr<Looking> add_looking(CLI::App* verb) {
    auto looking = std::make_shared<Looking>();
    auto* watch = verb->add_flag("-w,--watch", looking->watch, "Look again and again, until Ctrl-C");
    verb->add_option("--interval", looking->interval, "Seconds between two looks")
        ->capture_default_str()
        ->check(CLI::Range(0.05, 3600.0));
    verb->add_option("--times", looking->times, "With --watch: so many looks, then end")->needs(watch);
    return looking;
}

proto::DeviceViews look(const Context& context, const Looking& looking) {
    proto::Request request;
    request.mutable_devices()->set_domain(looking.domain);
    request.mutable_devices()->set_device(looking.device);
    return context.call(request).devices();
}

void pause(const Looking& looking) {
    std::this_thread::sleep_for(std::chrono::duration<double>(looking.interval));
}

/// A screen of its own for each look on a terminal; for a pipe one answer after the other.
void begin_screen(const Context& context) {
    if (!context.json && ::isatty(STDOUT_FILENO))
        fmt::print("\033[H\033[J");
}

/// Whether the answers are still wanted.
bool show(const Context& context, const google::protobuf::Message& message, const std::string& text) {
    context.print(message, text);
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

void add_ring(CLI::App& app, Context& context) {
    CLI::App* verb = add_verb(app, context, "ring",
                              "A device in depth: both ends' states, features, its rings' indices, requests in flight, "
                              "grants held, events, and all figures of its server");
    const auto looking = add_looking(verb);
    verb->add_option("DOMAIN", looking->domain, "Name or number of the guest")->required();
    verb->add_option("DEVICE", looking->device, "vif0, xvda, a number or a MAC address")->required();
    verb->callback([&context, looking] {
        std::optional<proto::DeviceView> before;
        for (unsigned i = 1;; ++i) {
            const auto now = look(context, *looking).devices(0);
            if (looking->watch)
                begin_screen(context);
            const bool wanted = show(context, now, ring_text(now, before ? &*before : nullptr));
            if (!looking->watch || !wanted || i == looking->times)
                return;
            before = now;
            pause(*looking);
        }
    });
}

void add_device_stats(CLI::App& app, Context& context) {
    CLI::App* verb = add_verb(app, context, "device-stats",
                              "How fast devices work, of one guest or of all: operations and bytes per second into the "
                              "guest and out of it, errors, drops ('-': its server does not say)");
    const auto looking = add_looking(verb);
    verb->add_option("DOMAIN", looking->domain, "Only the devices of this guest");
    verb->callback([&context, looking] {
        auto before = look(context, *looking);
        for (unsigned i = 1;; ++i) {
            pause(*looking);
            const auto now = look(context, *looking);
            const auto stats = rates(before, now);
            if (looking->watch)
                begin_screen(context);
            if (!show(context, stats, stats_text(stats)) || !looking->watch || i == looking->times)
                return;
            before = now;
        }
    });
}

} // namespace

void add_figure_verbs(CLI::App& app, Context& context) {
    add_ring(app, context);
    add_device_stats(app, context);
}

} // namespace domus::cli
