// Page-aligned memory of a queue, which packets are copied to and from. Header-only. Owner: a queue. Touched once when
// it is made, so that serving takes no page faults. The grants outlive it.
#pragma once

#include <cstdint>

#include "backend-drivers/net/types.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::net {

class Arena {
public:
    Arena(client::Grants& grants, std::size_t pages)
        : grants_(grants), pages_(pages), memory_(static_cast<std::uint8_t*>(grants.allocate(pages))) {}
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena() { grants_.release(memory_, pages_); }

    std::uint8_t* page(std::size_t number) const { return memory_ + number * page_size; }

private:
    client::Grants& grants_;
    std::size_t pages_;
    std::uint8_t* memory_;
};

} // namespace domus::net
