// Reads a built guest as the processor would: from the root of its page tables. Test code.
#pragma once

#include <optional>

#include "tests/unit/hypervisor/client/fake_raw.hpp"

namespace domus::build::test {

struct Found {
    std::uint64_t frame;
    bool writable;
};

/// The machine frame behind a virtual address, or nothing.
inline std::optional<Found> walk(client::test::FakeRaw& raw, std::uint64_t root, std::uint64_t address) {
    std::uint64_t frame = root;
    bool writable = true;
    for (int shift = 39; shift >= 12; shift -= 9) {
        const auto page = raw.pages.find(frame);
        if (page == raw.pages.end()) {
            return std::nullopt;
        }
        std::uint64_t entry = 0;
        std::memcpy(&entry, page->second.data() + (address >> shift & 511) * 8, 8);
        if ((entry & 5) != 5) { // present, user
            return std::nullopt;
        }
        writable = writable && (entry & 2);
        frame = entry >> 12 & 0xffffffffff;
    }
    return Found{frame, writable};
}

/// A copy of the T at a virtual address.
template <class T>
T read(client::test::FakeRaw& raw, std::uint64_t root, std::uint64_t address) {
    T value;
    const auto found = walk(raw, root, address);
    if (!found) {
        throw std::runtime_error("address not mapped");
    }
    std::memcpy(static_cast<void*>(&value), raw.pages[found->frame].data() + address % 4096, sizeof value);
    return value;
}

} // namespace domus::build::test
