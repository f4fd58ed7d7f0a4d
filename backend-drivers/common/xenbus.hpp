// Names of a split device in xenstore, its states (xen/io/xenbus.h), and what a backend must do next, as a pure
// function. Owner: nobody, values only. No lock, no I/O. Called by Device; the rules are tested as a table.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace domus::backend {

/// enum xenbus_state of xen/io/xenbus.h; Absent stands for no node, or one that is no state.
enum class State : unsigned {
    Absent = 0,
    Initialising = 1,
    InitWait = 2,
    Initialised = 3,
    Connected = 4,
    Closing = 5,
    Closed = 6,
    Reconfiguring = 7,
    Reconfigured = 8
};

State parse_state(const std::optional<std::string>& text);
std::string to_text(State state);
const char* name_of(State state);

/// An unsigned decimal number with nothing around it, or nothing.
std::optional<std::uint64_t> to_number(std::string_view text);

/// Name below a device's directory, and value.
using Nodes = std::vector<std::pair<std::string, std::string>>;

/// One device of one guest. `home` is the backend domain's own directory ("/local/domain/0").
struct DeviceId {
    std::string home;
    std::string type; ///< "domus-vbd", "domus-vif"
    std::uint16_t domid = 0;
    std::uint32_t devid = 0;

    std::string path() const;       ///< HOME/backend/TYPE/DOMID/DEVID
    std::string error_path() const; ///< HOME/error/backend/TYPE/DOMID/DEVID/error, where Linux' backends write too
    std::string text() const;       ///< "TYPE DOMID/DEVID" for messages

    auto operator<=>(const DeviceId&) const = default;
};

/// What decide() judges: both state nodes as they are in the store, and what this process has done.
struct Facts {
    State mine = State::Absent;
    State frontend = State::Absent;
    bool online = true;      ///< the toolstack wants the device to exist
    bool connected = false;  ///< the driver serves the frontend
    bool may_resume = false; ///< this process has not yet tried to go on where an earlier one was
    bool renewed = false;    ///< connected, and the frontend's nodes are no longer those that the driver connected by
};

enum class Action {
    None,
    Offer,       ///< prepare, publish features, InitWait
    Connect,     ///< the frontend's rings are there: serve them, Connected
    Resume,      ///< an earlier process was connected: serve on from where it was
    Restart,     ///< the frontend began anew (reconnect, resume of a saved guest): disconnect, then Offer
    ShowClosing, ///< state Closing; a frontend still has requests to be served
    Close        ///< disconnect, state Closed
};

/// The device state machine of every backend. docs/writing-a-driver.md draws it.
Action decide(const Facts& facts);

} // namespace domus::backend
