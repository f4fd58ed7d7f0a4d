// Ports of Open vSwitch bridges. See openvswitch.hpp; ovs-vsctl(8), ovs-vswitchd.conf.db(5). No lock.
#include "toolstack/engine/openvswitch.hpp"

#include <csignal>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

namespace domus::engine {

namespace {

constexpr int not_installed = -1, no_such_bridge = 2;
constexpr const char* remedy = "is it running? systemctl restart openvswitch-switch; its log is /var/log/openvswitch";

/// What the tool said, or did, in one line.
std::string reason(const Ended& ended) {
    std::string said = ended.said;
    said.erase(said.find_last_not_of(" \n") + 1);
    for (auto& c : said)
        c = c == '\n' ? ' ' : c;
    if (ended.status == 128 + SIGALRM || ended.status == 128 + SIGKILL)
        return "ovs-vsctl got no answer in time";
    return said.empty() ? fmt::format("ovs-vsctl ended with {}", ended.status) : said;
}

[[noreturn]] void fail(const std::string& doing, const Ended& ended) {
    if (ended.status == not_installed)
        throw std::runtime_error(
            fmt::format("{}: dom0 has no ovs-vsctl any more; run: apt install openvswitch-switch", doing));
    throw std::runtime_error(fmt::format("{}: {}; Open vSwitch in dom0: {}", doing, reason(ended), remedy));
}

} // namespace

std::vector<std::string> add_port_words(const model::SwitchPort& port, const std::string& interface,
                                        const std::string& mac) {
    std::vector<std::string> words{"--no-wait", "--",       "--if-exists", "del-port", interface,
                                   "--",        "add-port", port.bridge,   interface};
    if (port.vlan)
        words.push_back(fmt::format("tag={}", *port.vlan));
    if (!port.trunks.empty())
        words.push_back(fmt::format("trunks={}", fmt::join(port.trunks, ",")));
    if (port.vlan && !port.trunks.empty())
        words.emplace_back("vlan_mode=native-untagged"); // as it is, it would be the tag alone
    for (const char* word : {"--", "set", "Interface"})
        words.emplace_back(word);
    words.push_back(interface);
    words.push_back(fmt::format("external_ids:attached-mac=\"{}\"", mac)); // its integration guide's name for it
    return words;
}

asio::awaitable<Ended> OpenVswitch::run(std::vector<std::string> words) {
    using std::chrono::milliseconds;
    const auto seconds = std::max<long>(1, patience_.backend / std::chrono::seconds(1));
    words.insert(words.begin(), {"ovs-vsctl", fmt::format("--timeout={}", seconds)});
    const std::unique_ptr<Command> command = host_.start_command(words);
    if (!command)
        co_return Ended{not_installed, {}};
    std::optional<Ended> ended;
    const auto over = [&] { return (ended = command->ended()).has_value(); };
    // Its own limit ends it first, unless it is stopped; then our end of it kills it.
    const bool in_time = co_await poll_until(over, patience_.backend + milliseconds(5'000));
    co_return in_time ? *ended : Ended{128 + SIGKILL, {}};
}

asio::awaitable<OpenVswitch::Answer> OpenVswitch::has_bridge(std::string bridge) {
    std::vector<std::string> words{"br-exists", std::move(bridge)};
    const Ended ended = co_await run(std::move(words));
    Answer answer;
    answer.kind = ended.status == 0                ? Answer::Yes
                  : ended.status == no_such_bridge ? Answer::No
                  : ended.status == not_installed  ? Answer::NotInstalled
                                                   : Answer::Silent;
    if (answer.kind == Answer::Silent)
        answer.reason = fmt::format("{}; {}", reason(ended), remedy);
    co_return answer;
}

asio::awaitable<void> OpenVswitch::add_port(model::SwitchPort port, std::string interface, std::string mac) {
    auto words = add_port_words(port, interface, mac);
    const Ended ended = co_await run(std::move(words));
    if (ended.status != 0)
        fail(fmt::format("vif: putting {} on bridge {}", interface, port.bridge), ended);
}

asio::awaitable<void> OpenVswitch::wait_port(std::string interface) {
    std::vector<std::string> words{"--no-wait", "wait-until", "Interface", interface, "ofport>0"};
    const Ended ended = co_await run(std::move(words));
    if (ended.status == 0)
        co_return;
    std::vector<std::string> question{"--if-exists", "get", "Interface", interface, "error"};
    const Ended why = co_await run(std::move(question));
    const std::string said = why.status == 0 && why.said != "[]\n" ? ": " + reason(why) : "";
    throw std::runtime_error(fmt::format("vif: ovs-vswitchd did not take {} on within {} s{}; {}", interface,
                                         patience_.backend.count() / 1000, said, remedy));
}

asio::awaitable<void> OpenVswitch::remove_port(std::string bridge, std::string interface) {
    std::vector<std::string> words{"--no-wait", "--if-exists", "del-port", std::move(bridge), interface};
    const Ended ended = co_await run(std::move(words));
    if (ended.status != 0)
        fail(fmt::format("taking {} off its bridge", interface), ended);
}

} // namespace domus::engine
