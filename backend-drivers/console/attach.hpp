// A person's terminal on a guest's console: the client side of domus-consoled's socket, for `domus console`.
// Blocking; uses standard input and output; owns no other state.
#pragma once

#include <cstdint>
#include <string>

namespace domus::console {

/// Connects this process' standard input and output to the console of `domid` until Ctrl-] is typed, the guest ends
/// or the output is closed. A terminal is put into raw mode and restored in every case; input that is not a terminal
/// is copied until its end, and output goes on after that. Survives a restart of the daemon.
/// Returns a process exit status: 0, or 1 after a message on standard error.
int attach_terminal(std::uint16_t domid);
/// The same through another socket than the default one.
int attach_terminal(std::uint16_t domid, const std::string& socket_path);

} // namespace domus::console
