// One connection to an NBD server under Asio, by libnbd's asynchronous calls. Owner: NbdStorage. No lock, one
// io_context. Nothing here waits; what happens is told through Told. A connection that is lost stays so: the owner
// makes another.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "backend-drivers/block/nbd_library.hpp"
#include "backend-drivers/block/storage.hpp"
#include "hypervisor/client/descriptor.hpp"

namespace domus::block {

class NbdConnection : public std::enable_shared_from_this<NbdConnection> {
public:
    struct Told {
        std::function<void()> ready;                     ///< the server's answers to the negotiation are there
        std::function<void(std::string reason)> lost;    ///< once; commands under way are given up without ended()
        std::function<void(void* tag, int error)> ended; ///< a command: 0, or a negative errno
    };

    NbdConnection(const boost::asio::any_io_executor& executor, Told told);
    NbdConnection(const NbdConnection&) = delete;
    NbdConnection& operator=(const NbdConnection&) = delete;
    ~NbdConnection();

    /// Begins to connect. Throws std::runtime_error for a URI that is none.
    void connect(const std::string& uri);
    /// Begins to talk on a socket that is connected to a server. Throws std::runtime_error.
    void connect(const std::string& export_name, client::Descriptor socket);
    /// Sends a command of at most 1 GiB, its data at `data`. `tag` comes back in ended().
    void send(const Io& io, std::uint64_t already, std::uint64_t length, void* tag);
    /// Tells nothing more; the server is told good-bye if that can be done without waiting.
    void close();

    // What the server says, once it is ready.
    std::int64_t size() const;
    bool read_only() const;
    bool can(Kind kind) const;
    /// Of LIBNBD_SIZE_*: 0 when the server does not say.
    std::int64_t block_size(int which) const;

private:
    struct Command;
    void negotiate();
    void arm();
    void woken(bool reading);
    void look();
    void lose(std::string reason);
    static int completed(void* command, int* error);

    const NbdLibrary& nbd_;
    Told told_;
    nbd_handle* handle_;
    boost::asio::posix::stream_descriptor socket_; ///< once it is ready; closed by libnbd
    boost::asio::steady_timer timer_;
    std::vector<std::pair<void*, int>> ended_; ///< commands, collected while libnbd must not be called
    bool waits_to_read_ = false, waits_to_write_ = false, ready_ = false, open_ = true, looking_ = false;
};

} // namespace domus::block
