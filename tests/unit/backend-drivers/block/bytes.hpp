// A medium that is bytes in memory: what a read or a write does to it. Test code.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "backend-drivers/block/storage.hpp"

namespace domus::block::test {

inline void transfer(const Io& io, std::vector<std::uint8_t>& bytes) {
    if (io.kind != Kind::Read && io.kind != Kind::Write) {
        return;
    }
    if (io.offset > bytes.size() || io.length > bytes.size() - io.offset) {
        throw std::out_of_range("beyond the medium");
    }
    const iovec whole{io.data, io.length};
    auto* here = bytes.data() + io.offset;
    for (const auto& part : io.parts.empty() ? std::span(&whole, 1) : io.parts) {
        auto* there = static_cast<std::uint8_t*>(part.iov_base);
        std::copy_n(io.kind == Kind::Read ? here : there, part.iov_len, io.kind == Kind::Read ? there : here);
        here += part.iov_len;
    }
}

} // namespace domus::block::test
