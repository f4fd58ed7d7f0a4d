// Opening what a disk stands on. Owner: nobody. No lock. Done by the process that has the right to, which is another
// one than serves guests (opener.hpp); in tests the same.
#pragma once

#include <string>

#include <boost/asio/awaitable.hpp>

#include "backend-drivers/block/storage.hpp"
#include "hypervisor/client/descriptor.hpp"

namespace domus::block {

/// A medium, or why there is none.
struct Opened {
    client::Descriptor descriptor;
    int error = 0;   ///< errno value when there is no descriptor
    std::string why; ///< in words, where they say more than the number
};

/// Opens an image file or a block device, past the page cache where single sectors can be read so; nothing else, and
/// nothing that has to be waited for. Of a block device to be written nobody else has an exclusive use (EBUSY).
Opened open_medium(const std::string& path, bool read_only);
/// Connects to a server's socket, without waiting.
Opened connect_socket(const std::string& path);

class Opener {
public:
    virtual ~Opener() = default;
    /// The disk's image, or its server's socket if its target is an NBD URI with one (nbd_uri.hpp). Does not throw.
    virtual boost::asio::awaitable<Opened> open(Spec spec) = 0;
};

/// With this process' own rights.
class OwnOpener final : public Opener {
public:
    boost::asio::awaitable<Opened> open(Spec spec) override;
};

/// What both kinds of openers do.
Opened open_target(const std::string& target, bool read_only);

} // namespace domus::block
