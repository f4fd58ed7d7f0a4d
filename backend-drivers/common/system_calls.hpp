// Which system calls a backend may make once its devices are open: a guest that takes the process over shall find no
// way to start programs, to debug others, or to make code. No lock. Called once by the frame (daemon.cpp), after
// keep_only().
#pragma once

#include <initializer_list>
#include <span>

namespace domus::backend {

/// From now on, for ever and for all threads, every system call but the frame's own (system_calls.cpp) and `more` fails
/// with EPERM, and so does memory that is to be executed. Needs "no new privileges". Throws std::runtime_error.
void allow_system_calls(std::initializer_list<int> more = {});

/// The same with no calls but these.
void allow_only(std::span<const int> calls);

} // namespace domus::backend
