// See xenstore.hpp. Two parts: requests, which wait for their answer; and one task that takes all that arrives, puts an
// answer where its request finds it, and notifies watches.
#include "frontend-drivers/guestkit/drivers/xenstore.hpp"

#include <algorithm>
#include <cstring>

namespace domus::guest {
namespace {

struct ErrorName {
    std::string_view text;
    Err error;
};
constexpr ErrorName error_names[] = {
    {"EINVAL", Err::Inval}, {"EACCES", Err::Access},      {"EEXIST", Err::Exist},   {"EISDIR", Err::IsDir},
    {"ENOENT", Err::NoEnt}, {"ENOMEM", Err::NoMem},       {"ENOSPC", Err::NoSpace}, {"EIO", Err::Io},
    {"ENOSYS", Err::NoSys}, {"ENOTEMPTY", Err::NotEmpty}, {"EROFS", Err::RoFs},     {"EBUSY", Err::Busy},
    {"EAGAIN", Err::Again}, {"EISCONN", Err::IsConn},     {"E2BIG", Err::TooBig},   {"EPERM", Err::Perm},
};

Err error_of(std::string_view text) {
    while (!text.empty() && text.back() == 0)
        text.remove_suffix(1);
    for (const auto& name : error_names)
        if (name.text == text)
            return name.error;
    return Err::Inval;
}

// At most `count` bytes that lie side by side from ring index `at` on.
usize side_by_side(u32 at, u32 available, usize count) {
    return std::min<usize>({count, available, XENSTORE_RING_SIZE - MASK_XENSTORE_IDX(at)});
}

} // namespace

Xenstore::Xenstore(Platform& platform, xenstore_domain_interface* ring, u32 port)
    : platform_(platform), ring_(ring), port_(port), event_(platform.tasks), answered_(platform.tasks),
      turn_(platform.tasks) {}

void Xenstore::start() {
    platform_.follow_port(port_, event_);
    platform_.tasks.start(receive_all());
}

Task<void> Xenstore::send(const void* bytes, usize count) {
    auto* from = static_cast<const char*>(bytes);
    while (count > 0) {
        const u32 produced = ring_->req_prod;
        const u32 used = produced - __atomic_load_n(&ring_->req_cons, __ATOMIC_ACQUIRE);
        if (used >= XENSTORE_RING_SIZE) {
            platform_.notify(port_);
            co_await event_.wait();
            continue;
        }
        const usize piece = side_by_side(produced, XENSTORE_RING_SIZE - used, count);
        std::memcpy(ring_->req + MASK_XENSTORE_IDX(produced), from, piece);
        __atomic_store_n(&ring_->req_prod, produced + static_cast<u32>(piece), __ATOMIC_RELEASE);
        from += piece;
        count -= piece;
    }
}

Task<Result<void>> Xenstore::receive(void* bytes, usize count) {
    auto* to = static_cast<char*>(bytes);
    while (count > 0) {
        const u32 consumed = ring_->rsp_cons;
        const u32 there = __atomic_load_n(&ring_->rsp_prod, __ATOMIC_ACQUIRE) - consumed;
        if (there > XENSTORE_RING_SIZE)
            co_return Err::Io;
        if (there == 0) {
            co_await event_.wait();
            continue;
        }
        const usize piece = side_by_side(consumed, there, count);
        std::memcpy(to, ring_->rsp + MASK_XENSTORE_IDX(consumed), piece);
        __atomic_store_n(&ring_->rsp_cons, consumed + static_cast<u32>(piece), __ATOMIC_RELEASE);
        platform_.notify(port_); // there is room again
        to += piece;
        count -= piece;
    }
    co_return Result<void>();
}

Task<void> Xenstore::receive_all() {
    for (;;) {
        xsd_sockmsg header;
        const auto begun = co_await receive(&header, sizeof header);
        if (!begun || header.len > XENSTORE_PAYLOAD_MAX)
            break;
        const bool is_event = header.type == XS_WATCH_EVENT;
        if (!is_event && (have_answer_ || header.req_id != last_request_)) // nobody asked
            break;
        const auto whole = co_await receive(is_event ? watch_event_ : answer_, header.len);
        if (!whole)
            break;
        if (is_event) {
            fire({watch_event_, header.len});
        } else {
            answer_header_ = header;
            have_answer_ = true;
            answered_.notify();
        }
    }
    broken_ = true;
    platform_.say("xenstore: the ring is broken\n");
    answered_.notify();
}

void Xenstore::fire(std::string_view event) { // path, zero, token, zero
    const auto zero = event.find('\0');
    if (zero == event.npos || event.back() != 0)
        return;
    event.remove_prefix(zero + 1);
    event.remove_suffix(event.empty() ? 0 : 1);
    const auto token = to_number(event);
    for (Link* at = watches_.next; at != &watches_; at = at->next)
        if (auto& watch = static_cast<Watch&>(*at); watch.token_ == token)
            watch.changed.notify();
}

Task<Result<std::string_view>> Xenstore::request(u32 type, u32 transaction, std::string_view first, Ends ends) {
    co_return co_await request(type, transaction, first, {}, ends);
}

Task<Result<std::string_view>> Xenstore::request(u32 type, u32 transaction, std::string_view first,
                                                 std::string_view second, Ends ends) {
    // One string, or two with a zero between them.
    const bool two = second.data() != nullptr;
    const usize length = first.size() + (two ? 1 + second.size() : 0) + (ends == Ends::WithZero ? 1 : 0);
    if (length > XENSTORE_PAYLOAD_MAX)
        co_return Err::TooBig;
    co_await turn_.take();
    const xsd_sockmsg header{type, ++last_request_, transaction, static_cast<u32>(length)};
    if (!broken_) {
        co_await send(&header, sizeof header);
        co_await send(first.data(), first.size());
        if (two) {
            co_await send("", 1);
            co_await send(second.data(), second.size());
        }
        if (ends == Ends::WithZero)
            co_await send("", 1);
        platform_.notify(port_);
    }
    while (!have_answer_ && !broken_)
        co_await answered_.wait();
    const bool answered = std::exchange(have_answer_, false);
    turn_.give();
    const std::string_view answer(answer_, answer_header_.len);
    if (!answered)
        co_return Err::Io;
    if (answer_header_.type == XS_ERROR)
        co_return error_of(answer);
    if (answer_header_.type != type)
        co_return Err::Io;
    co_return answer;
}

Task<Result<std::string_view>> Xenstore::read(std::string_view path, u32 transaction) {
    return request(XS_READ, transaction, path, Ends::WithZero);
}
Task<Result<std::string_view>> Xenstore::directory(std::string_view path, u32 transaction) {
    return request(XS_DIRECTORY, transaction, path, Ends::WithZero);
}

Task<Result<u64>> Xenstore::read_number(std::string_view path, u32 transaction) {
    CO_LET(text, co_await read(path, transaction));
    if (const auto number = to_number(text))
        co_return *number;
    co_return Err::Inval;
}

Task<Result<void>> Xenstore::write(std::string_view path, std::string_view value, u32 transaction) {
    CO_CHECK(co_await request(XS_WRITE, transaction, path, value.data() ? value : std::string_view(""), Ends::Bare));
    co_return Result<void>();
}

Task<Result<void>> Xenstore::remove(std::string_view path, u32 transaction) {
    CO_CHECK(co_await request(XS_RM, transaction, path, Ends::WithZero));
    co_return Result<void>();
}

Task<Result<u32>> Xenstore::begin() {
    CO_LET(answer, co_await request(XS_TRANSACTION_START, 0, "", Ends::WithZero));
    if (!answer.empty() && answer.back() == 0)
        answer.remove_suffix(1);
    if (const auto number = to_number(answer))
        co_return static_cast<u32>(*number);
    co_return Err::Io;
}

Task<Result<void>> Xenstore::end(u32 transaction, bool commit) {
    CO_CHECK(co_await request(XS_TRANSACTION_END, transaction, commit ? "T" : "F", Ends::WithZero));
    co_return Result<void>();
}

Task<Result<void>> Xenstore::watch(std::string_view path, Watch& watch) {
    watch.path_ = Text<256>(path);
    watch.token_ = ++last_token_;
    watch.join_before(watches_); // before the request: its first event may come before its answer
    const Text<16> token(watch.token_);
    const auto answer = co_await request(XS_WATCH, 0, path, token, Ends::WithZero);
    if (answer)
        co_return Result<void>();
    watch.leave();
    co_return answer.error();
}

Task<Result<void>> Xenstore::unwatch(Watch& watch) {
    watch.leave();
    const Text<16> token(watch.token_);
    CO_CHECK(co_await request(XS_UNWATCH, 0, watch.path_, token, Ends::WithZero));
    co_return Result<void>();
}

} // namespace domus::guest
