// The verbs of `domus`: each adds itself to the command line and does its work when chosen. Owner: main.cpp. No lock.
#pragma once

#include "toolstack/cli/connection.hpp"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

namespace domus::cli {

/// What all verbs share. Lives as long as the command line.
struct Context {
    std::string socket;
    std::string console_socket; // empty: the console client's own default
    bool json = false;
    int status = 0; // exit status, for a verb that is no error but says no

    CallOptions options() const;
    proto::Response call(const proto::Request& request) const { return cli::call(request, options()); }
    /// Prints the message as JSON when --json was given; otherwise the text.
    void print(const google::protobuf::Message& message, const std::string& text) const;
};

void add_create_verbs(CLI::App& app, Context& context); // create, config-check, console
void add_domain_verbs(CLI::App& app, Context& context); // list ... perf
void add_device_verbs(CLI::App& app, Context& context); // block-*, network-*
void add_figure_verbs(CLI::App& app, Context& context); // ring, device-stats
void add_new_guest_verb(CLI::App& app);                 // new-guest

/// A verb with --json.
CLI::App* add_verb(CLI::App& app, Context& context, const std::string& name, const std::string& help);

} // namespace domus::cli
