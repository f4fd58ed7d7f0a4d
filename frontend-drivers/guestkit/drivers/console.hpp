// The PV console through its ring (<xen/io/console.h>): text out, and lines in. Owner: the guest. No lock: one vcpu.
// print() writes to the same ring without waiting for tasks; what it writes stands between what tasks write.
#pragma once

#include "frontend-drivers/guestkit/drivers/platform.hpp"
#include "frontend-drivers/guestkit/drivers/text.hpp"

namespace domus::guest {

class Console {
public:
    // A ring and a port that the guest was born with.
    Console(Platform& platform, xencons_interface* ring, u32 port);

    // Returns when the ring has taken all of it; waits while whoever reads it is slow.
    Task<void> write(std::string_view text);
    // The next line typed, without its end; what is longer than the line is cut.
    Task<void> read_line(Text<256>& line);

private:
    Platform& platform_;
    xencons_interface* ring_;
    u32 port_;
    Event event_;
};

} // namespace domus::guest
