// Attaching, detaching and listing disks and network cards. No lock.
#include "toolstack/cli/columns.hpp"
#include "toolstack/cli/verbs.hpp"
#include "toolstack/model/disk.hpp"
#include "toolstack/model/text.hpp"
#include "toolstack/model/vif.hpp"
#include "toolstack/proto/convert.hpp"

#include <fmt/format.h>
#include <stdexcept>

namespace domus::cli {

namespace {

struct Words {
    std::string domain;
    std::vector<std::string> spec;
    std::string device;
    bool force = false;

    /// xl takes the parts of a device as words of the command line too.
    std::string joined() const {
        std::string out;
        for (const auto& word : spec)
            out += (out.empty() ? "" : ",") + word;
        return out;
    }
};

std::shared_ptr<Words> add_words(CLI::App* verb) {
    auto words = std::make_shared<Words>();
    verb->add_option("DOMAIN", words->domain, "Name or number of the guest")->required();
    return words;
}

template <class Parse>
auto parse_spec(Parse parse, const std::string& spec) {
    std::vector<std::string> warnings;
    try {
        auto parsed = parse(spec, warnings);
        for (const auto& warning : warnings)
            fmt::print(stderr, "warning: {}\n", warning);
        return parsed;
    } catch (const model::ValueError& e) {
        throw std::runtime_error(fmt::format("\"{}\", column {}: {}", spec, e.offset() + 1, e.what()));
    }
}

void print_attached(const Context& context, const proto::Response& response) {
    context.print(response.attached(), "");
}

void add_attach(CLI::App& app, Context& context) {
    CLI::App* block = add_verb(app, context, "block-attach", "Give a guest another disk");
    const auto disk = add_words(block);
    block->add_option("DISK", disk->spec, "As in the configuration: /path,raw,xvdb,rw")->required();
    block->callback([&context, disk] {
        proto::Request request;
        request.mutable_block_attach()->set_domain(disk->domain);
        *request.mutable_block_attach()->mutable_disk() =
            proto::to_proto(parse_spec(model::parse_disk, disk->joined()));
        print_attached(context, context.call(request));
    });

    CLI::App* network = add_verb(app, context, "network-attach", "Give a guest another network card");
    const auto vif = add_words(network);
    network->add_option("VIF", vif->spec, "As in the configuration: bridge=xenbr0,mac=...");
    network->callback([&context, vif] {
        proto::Request request;
        request.mutable_network_attach()->set_domain(vif->domain);
        *request.mutable_network_attach()->mutable_vif() = proto::to_proto(parse_spec(model::parse_vif, vif->joined()));
        print_attached(context, context.call(request));
    });
}

void add_detach(CLI::App& app, Context& context, const std::string& name, const std::string& help,
                const std::string& names, proto::DetachRequest* (proto::Request::*field)()) {
    CLI::App* verb = add_verb(app, context, name, help);
    const auto words = add_words(verb);
    verb->add_option("DEVICE", words->device, names)->required();
    verb->add_flag("--force", words->force, "Do not wait for the guest to let go");
    verb->callback([&context, words, field] {
        proto::Request request;
        auto* ask = (request.*field)();
        ask->set_domain(words->domain);
        ask->set_device(words->device);
        ask->set_force(words->force);
        context.print(context.call(request).done(), "");
    });
}

void add_resize(CLI::App& app, Context& context) {
    CLI::App* verb =
        add_verb(app, context, "block-resize", "Tell a guest the new size of a disk whose image has grown");
    const auto words = add_words(verb);
    verb->add_option("DEVICE", words->device, "Name (xvdb) or number; its disk has backendtype=domus")->required();
    verb->callback([&context, words] {
        proto::Request request;
        request.mutable_block_resize()->set_domain(words->domain);
        request.mutable_block_resize()->set_device(words->device);
        context.print(context.call(request).done(), "");
    });
}

void add_lists(CLI::App& app, Context& context) {
    CLI::App* block = add_verb(app, context, "block-list", "Disks of a guest");
    const auto disks = add_words(block);
    block->callback([&context, disks] {
        proto::Request request;
        request.mutable_block_list()->set_domain(disks->domain);
        const auto response = context.call(request);
        context.print(response.blocks(), blocks_text(response.blocks()));
    });

    CLI::App* network = add_verb(app, context, "network-list", "Network cards of a guest");
    const auto cards = add_words(network);
    network->callback([&context, cards] {
        proto::Request request;
        request.mutable_network_list()->set_domain(cards->domain);
        const auto response = context.call(request);
        context.print(response.networks(), networks_text(response.networks()));
    });
}

} // namespace

void add_device_verbs(CLI::App& app, Context& context) {
    add_attach(app, context);
    add_resize(app, context);
    add_detach(app, context, "block-detach", "Take a disk from a guest", "Name (xvdb) or number",
               &proto::Request::mutable_block_detach);
    add_detach(app, context, "network-detach", "Take a network card from a guest",
               "vif1, its number or its MAC address", &proto::Request::mutable_network_detach);
    add_lists(app, context);
}

} // namespace domus::cli
