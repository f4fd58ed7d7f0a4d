// Dom0's end of a PV console ring. The page is shared with a guest that may write anything there at any time: indices
// are read once, judged, and only the copy is used. Source: xen/io/console.h. Owner: Guest. No lock.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <xen/io/console.h>

namespace domus::console {

class Ring {
public:
    /// `page` stays mapped as long as this object lives.
    explicit Ring(std::shared_ptr<xencons_interface> page) : page_(std::move(page)) {}

    struct Taken {
        std::string bytes;
        bool corrupt = false; ///< the guest's indices made no sense; what they named was skipped
    };
    /// Takes all output the guest has written, at most one ring's worth.
    Taken take_output();

    /// Hands input to the guest. Returns how many bytes fitted.
    std::size_t give_input(std::string_view bytes);

private:
    std::shared_ptr<xencons_interface> page_;
};

} // namespace domus::console
