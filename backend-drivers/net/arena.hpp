// Page-aligned memory of a queue, which packets are copied to and from. Header-only. Owner: a queue. Touched once when
// it is made, so that serving takes no page faults.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "backend-drivers/net/types.hpp"

namespace domus::net {

class Arena {
public:
    explicit Arena(std::size_t pages)
        : memory_(static_cast<std::uint8_t*>(std::aligned_alloc(page_size, pages * page_size))) {
        if (!memory_) {
            throw std::bad_alloc();
        }
        std::memset(memory_.get(), 0, pages * page_size);
    }

    std::uint8_t* page(std::size_t number) const { return memory_.get() + number * page_size; }

private:
    struct Free {
        void operator()(std::uint8_t* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::uint8_t, Free> memory_;
};

} // namespace domus::net
