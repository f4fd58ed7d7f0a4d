// See xenbus.hpp.
#include "backend-drivers/common/xenbus.hpp"

#include <charconv>

#include <fmt/format.h>

namespace domus::backend {

std::optional<std::uint64_t> to_number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

State parse_state(const std::optional<std::string>& text) {
    const auto number = text ? to_number(*text) : std::nullopt;
    return number && *number <= 8 ? static_cast<State>(*number) : State::Absent;
}

std::string to_text(State state) {
    return std::to_string(static_cast<unsigned>(state));
}

const char* name_of(State state) {
    static constexpr const char* names[] = {"absent",  "Initialising", "InitWait",      "Initialised", "Connected",
                                            "Closing", "Closed",       "Reconfiguring", "Reconfigured"};
    return names[static_cast<unsigned>(state)];
}

std::string DeviceId::path() const {
    return fmt::format("{}/backend/{}/{}/{}", home, type, domid, devid);
}

std::string DeviceId::error_path() const {
    return fmt::format("{}/error/backend/{}/{}/{}/error", home, type, domid, devid);
}

std::string DeviceId::text() const {
    return fmt::format("{} {}/{}", type, domid, devid);
}

namespace {

bool ready(State frontend) {
    return frontend == State::Initialised || frontend == State::Connected;
}

bool gone(State frontend) {
    return frontend == State::Absent || frontend == State::Closed;
}

Action while_connected(const Facts& facts) {
    if (gone(facts.frontend)) {
        return Action::Close;
    }
    if (facts.mine == State::Closing) {
        return Action::None; // until the frontend has closed, its requests are served
    }
    if (facts.frontend == State::Initialising || facts.frontend == State::InitWait ||
        (facts.renewed && ready(facts.frontend))) {
        return Action::Restart;
    }
    return facts.frontend == State::Closing ? Action::ShowClosing : Action::None;
}

Action while_waiting(const Facts& facts) {
    if (ready(facts.frontend)) {
        return Action::Connect;
    }
    if (facts.frontend == State::Closing) {
        return Action::ShowClosing;
    }
    return facts.frontend == State::Closed || !facts.online ? Action::Close : Action::None;
}

} // namespace

Action decide(const Facts& facts) {
    if (facts.connected) {
        return while_connected(facts);
    }
    switch (facts.mine) {
    case State::Absent:
    case State::Initialising:
    case State::Reconfiguring:
    case State::Reconfigured:
        return facts.online ? Action::Offer : Action::Close;
    case State::InitWait:
    case State::Initialised:
        // Features of an earlier process may not be ours: say them again before the frontend is taken.
        return facts.may_resume ? Action::Offer : while_waiting(facts);
    case State::Connected:
    case State::Closing:
        if (facts.may_resume && (ready(facts.frontend) || facts.frontend == State::Closing)) {
            return Action::Resume;
        }
        if (facts.mine == State::Connected) {
            return gone(facts.frontend) ? Action::Close : Action::Restart;
        }
        return gone(facts.frontend) ? Action::Close : Action::None;
    case State::Closed:
        // It had let go. One that comes back while this was being closed may still have seen Connected, and connected.
        return facts.online && (facts.frontend == State::Initialising || ready(facts.frontend)) ? Action::Offer
                                                                                                : Action::None;
    }
    return Action::None;
}

} // namespace domus::backend
