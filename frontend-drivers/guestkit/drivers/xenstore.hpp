// Client of xenstore over the ring that the guest was born with (<xen/io/xs_wire.h>). Owner: Kit. No lock: one vcpu;
// one request at a time, tasks take turns. Paths without a leading slash are below the guest's own home. Errors: what
// xenstored said (NoEnt, Access, ...); Io when it broke the protocol, and then always.
#pragma once

#include "frontend-drivers/guestkit/drivers/platform.hpp"
#include "frontend-drivers/guestkit/drivers/text.hpp"

#include <xen/io/xs_wire.h>

#include <span>

namespace domus::guest {

class Xenstore;

// A path that is followed: changed is notified once at the beginning, and when the node or one below it changes.
class Watch : Link {
public:
    explicit Watch(Scheduler& scheduler) : changed(scheduler) {}
    Event changed;

private:
    friend class Xenstore;
    Text<256> path_;
    u32 token_ = 0;
};

class Xenstore {
public:
    // `port` is bound already; nothing is sent before start().
    Xenstore(Platform& platform, xenstore_domain_interface* ring, u32 port);
    void start();

    // The value, or the names of the children, each ended by a zero. Good until the next co_await: copy or parse it.
    Task<Result<std::string_view>> read(std::string_view path, u32 transaction = 0);
    Task<Result<std::string_view>> directory(std::string_view path, u32 transaction = 0);
    Task<Result<u64>> read_number(std::string_view path, u32 transaction = 0); // Inval: it is no number
    Task<Result<void>> write(std::string_view path, std::string_view value, u32 transaction = 0);
    Task<Result<void>> remove(std::string_view path, u32 transaction = 0);

    // Again: somebody else changed what the transaction looked at; begin anew.
    Task<Result<u32>> begin();
    Task<Result<void>> end(u32 transaction, bool commit);

    Task<Result<void>> watch(std::string_view path, Watch& watch);
    Task<Result<void>> unwatch(Watch& watch);

private:
    enum class Ends { Bare, WithZero }; // whether the last string of a request is ended by a zero

    Task<Result<std::string_view>> request(u32 type, u32 transaction, std::string_view first, Ends ends);
    Task<Result<std::string_view>> request(u32 type, u32 transaction, std::string_view first, std::string_view second,
                                           Ends ends);
    Task<void> send(const void* bytes, usize count);
    Task<void> receive_all();
    Task<Result<void>> receive(void* bytes, usize count);
    void fire(std::string_view event);

    Platform& platform_;
    xenstore_domain_interface* ring_;
    u32 port_;
    Event event_, answered_;
    TaskLock turn_;
    Link watches_;
    u32 last_token_ = 0, last_request_ = 0;
    bool have_answer_ = false, broken_ = false;
    xsd_sockmsg answer_header_{};
    char answer_[XENSTORE_PAYLOAD_MAX], watch_event_[XENSTORE_PAYLOAD_MAX];
};

} // namespace domus::guest
