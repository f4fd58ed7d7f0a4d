// A backend's rights once its devices are open: a guest that takes the process over shall not be root. No lock.
// Called once by a daemon's main, before it serves anybody.
#pragma once

#include <initializer_list>

namespace domus::backend {

/// Gives up for ever, for this thread and what it may start (so: before there are others), all of root's rights but
/// these (CAP_* of linux/capability.h). Files that belong to root can still be opened. Throws std::runtime_error.
void keep_only(std::initializer_list<unsigned> capabilities);

} // namespace domus::backend
