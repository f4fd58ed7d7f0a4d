// See backend.hpp. Everything in the ring and in the page is a guest's word: copied once, judged on the copy.
#include "labs/echo/backend.hpp"

#include <boost/asio/co_spawn.hpp>

namespace domus::echo {

namespace asio = boost::asio;

class EchoDriver::Queue : public std::enable_shared_from_this<Queue> {
public:
    Queue(backend::Device& device, std::uint32_t reference, std::uint32_t port)
        : device_(device), page_(device.access().grants, device.id().domid, std::span(&reference, 1)),
          port_(device.access().events, device.id().domid, port), ring_(page_.data(), client::page_size) {}

    void start() {
        asio::co_spawn(device_.executor(), serve(), [self = shared_from_this()](const std::exception_ptr& failure) {
            if (failure && self->open_) { // a RingError, or the hypervisor refused something
                try {
                    std::rethrow_exception(failure);
                } catch (const std::exception& error) {
                    self->device_.fail(error.what());
                }
            }
        });
    }
    void stop() {
        open_ = false;
        port_.close(); // ends the wait in serve()
        page_.reset();
    }

private:
    asio::awaitable<void> serve() {
        while (open_) {
            while (ring_.waiting() != 0) {
                Request request;
                ring_.take(request);
                ring_.put({request.id, answer(request)});
            }
            if (ring_.publish())
                port_.notify();
            if (!ring_.arm())
                co_await port_.wait();
        }
    }

    std::int16_t answer(const Request& request) {
        if (request.offset > client::page_size || request.length > client::page_size - request.offset)
            return failed;
        client::GrantCopy piece{request.reference, request.offset, request.length, text_.data()};
        copy(piece);
        for (auto& c : std::span(text_).first(request.length))
            c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        if (piece.status == 0) {
            piece.to_guest = true;
            copy(piece);
        }
        return piece.status == 0 ? okay : failed;
    }
    void copy(client::GrantCopy& piece) { device_.access().grants->copy(device_.id().domid, std::span(&piece, 1)); }

    backend::Device& device_;
    client::GrantMap page_;
    backend::Port port_;
    backend::BackRing<Request, Response> ring_;
    alignas(client::page_size) std::array<char, client::page_size> text_;
    bool open_ = true;
};

EchoDriver::~EchoDriver() {
    if (queue_)
        queue_->stop();
}

asio::awaitable<backend::Nodes> EchoDriver::offer() {
    backend::Nodes nodes{{"feature-echo", "1"}};
    co_return nodes;
}

asio::awaitable<backend::Nodes> EchoDriver::connect() {
    const auto reference = co_await device_.frontend_need("ring-ref", 0xffffffff);
    const auto port = co_await device_.frontend_need("event-channel", 0xffffffff);
    queue_ = std::make_shared<Queue>(device_, static_cast<std::uint32_t>(reference), static_cast<std::uint32_t>(port));
    queue_->start();
    co_return backend::Nodes{};
}

asio::awaitable<bool> EchoDriver::resume() {
    co_return false; // what the earlier process had answered is not known: the frontend is to begin anew
}

asio::awaitable<void> EchoDriver::disconnect() {
    if (queue_)
        queue_->stop();
    queue_.reset();
    co_return;
}

} // namespace domus::echo
