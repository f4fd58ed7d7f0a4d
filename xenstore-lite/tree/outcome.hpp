// What an operation of the store gives back: a value, or the errno value the wire's error reply will carry.
// Plain values, no lock. Used everywhere in tree/.
#pragma once

#include <boost/system/result.hpp>

#include <cerrno>
#include <stdexcept>

namespace domus::xenstore::tree {

/// An errno value that has a name in xs_wire.h. A type of its own, so that a number is never taken for one.
enum class Errno : int {
    invalid = EINVAL,
    denied = EACCES,
    exists = EEXIST,
    absent = ENOENT,
    quota = ENOSPC,
    too_big = E2BIG,
    no_such_request = ENOSYS,
    busy = EBUSY,
    again = EAGAIN,
    not_owner = EPERM,
    io = EIO,
};

/// Needed by boost::system::result; reached only by a .value() without a check, which is a bug here.
[[noreturn]] inline void throw_exception_from_error(Errno, const boost::source_location&) {
    throw std::logic_error("xenstore: a failed outcome was used as a value");
}

template <class T>
using Outcome = boost::system::result<T, Errno>;

} // namespace domus::xenstore::tree
