// The real event-channel device: libxenevtchn on /dev/xen/evtchn. See event_channels.hpp.
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

extern "C" { // these headers say so nowhere themselves
#include <xenevtchn.h>
}

#include "hypervisor/client/error.hpp"
#include "hypervisor/client/event_channels.hpp"

namespace domus::client {
namespace {

class XenEventChannels final : public RawEventChannels {
public:
    XenEventChannels() : handle_(xenevtchn_open(nullptr, 0)) {
        if (!handle_) {
            throw Error("open /dev/xen/evtchn", std::nullopt, errno ? errno : ENODEV);
        }
        // A read of a port must never stop the one thread of a daemon.
        const int flags = ::fcntl(descriptor(), F_GETFL);
        ::fcntl(descriptor(), F_SETFL, flags | O_NONBLOCK);
    }
    XenEventChannels(const XenEventChannels&) = delete;
    XenEventChannels& operator=(const XenEventChannels&) = delete;
    ~XenEventChannels() override { xenevtchn_close(handle_); }

    int descriptor() const override { return xenevtchn_fd(handle_); }
    std::uint32_t bind_interdomain(std::uint16_t domid, std::uint32_t remote_port) override {
        return port(xenevtchn_bind_interdomain(handle_, domid, remote_port), "bind event channel", domid);
    }
    std::uint32_t bind_unbound(std::uint16_t remote) override {
        return port(xenevtchn_bind_unbound_port(handle_, remote), "offer event channel", remote);
    }
    std::uint32_t bind_virq(unsigned virq) override {
        return port(xenevtchn_bind_virq(handle_, virq), "bind virtual interrupt", std::nullopt);
    }
    void unbind(std::uint32_t number) noexcept override { xenevtchn_unbind(handle_, number); }
    void notify(std::uint32_t number) override { check(xenevtchn_notify(handle_, number), "notify event channel"); }
    /// The device hands over as many ports as are pending in one read; a short answer means that there are no more.
    std::optional<std::uint32_t> pending() override {
        if (next_ == filled_) {
            if (std::exchange(drained_, false)) {
                return std::nullopt;
            }
            read_pending();
        }
        return next_ < filled_ ? std::optional(ports_[next_++]) : std::nullopt;
    }
    void unmask(std::uint32_t number) override { check(xenevtchn_unmask(handle_, number), "unmask event channel"); }

private:
    void read_pending() {
        next_ = filled_ = 0;
        const auto got = ::read(descriptor(), ports_.data(), sizeof ports_);
        if (got >= 0) {
            filled_ = static_cast<std::size_t>(got) / sizeof ports_[0];
            drained_ = filled_ < ports_.size() && filled_ != 0;
        } else if (errno != EAGAIN && errno != EINTR) {
            throw Error("read pending event channel", std::nullopt, errno);
        }
    }

    static std::uint32_t port(int answer, const char* what, std::optional<std::uint16_t> domid) {
        if (answer < 0) {
            throw Error(what, domid, errno);
        }
        return static_cast<std::uint32_t>(answer);
    }
    static void check(int answer, const char* what) {
        if (answer < 0) {
            throw Error(what, std::nullopt, errno);
        }
    }

    xenevtchn_handle* handle_;
    std::array<std::uint32_t, 64> ports_{};
    std::size_t next_ = 0, filled_ = 0;
    bool drained_ = false; // the last read took all there was: the next call may say so without another
};

} // namespace

std::unique_ptr<RawEventChannels> open_event_channels() {
    return std::make_unique<XenEventChannels>();
}

} // namespace domus::client
