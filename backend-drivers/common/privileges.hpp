// A backend's rights once its devices are open: a guest that takes the process over shall not be root. No lock.
// Called once by a daemon's main, before it serves anybody and before there are other threads.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace domus::backend {

/// A user that a daemon becomes.
struct User {
    std::string name;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// Of /etc/passwd. Throws std::runtime_error with the command that makes the user.
User find_user(const std::string& name);

/// Makes a folder that the user may write to (mode 0755), and what is missing above it. One that is there already must
/// be the user's: it may be anything, and only who runs the machine knows. For root any will do. Throws
/// std::runtime_error with what to do.
void make_folder(const std::string& path, const User& user);

/// Becomes the user for ever, without other groups, and gives up, as keep_only(), all rights but these.
/// Who is that user already stays as it is. Throws std::runtime_error.
void become(const User& user, const std::vector<unsigned>& capabilities);

/// Gives up for ever, for this thread and what it may start, all of root's rights but these (CAP_* of
/// linux/capability.h). The user stays: files that belong to root can still be opened. Throws std::runtime_error.
void keep_only(const std::vector<unsigned>& capabilities);

} // namespace domus::backend
