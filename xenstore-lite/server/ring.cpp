// Copies to and from the ring page. See ring.hpp.
#include "xenstore-lite/server/ring.hpp"

#include <algorithm>
#include <cstring>

namespace domus::xenstore::server {

std::string Ring::peek(std::uint32_t consumed, std::uint32_t count) const {
    std::string bytes(count, '\0');
    const std::uint32_t start = MASK_XENSTORE_IDX(consumed);
    const std::uint32_t first = std::min<std::uint32_t>(count, XENSTORE_RING_SIZE - start);
    std::memcpy(bytes.data(), page_.req + start, first);
    std::memcpy(bytes.data() + first, page_.req, count - first);
    return bytes;
}

void Ring::put(std::uint32_t produced, std::string_view bytes) {
    const std::uint32_t start = MASK_XENSTORE_IDX(produced);
    const std::size_t first = std::min<std::size_t>(bytes.size(), XENSTORE_RING_SIZE - start);
    std::memcpy(page_.rsp + start, bytes.data(), first);
    std::memcpy(page_.rsp, bytes.data() + first, bytes.size() - first);
}

void Ring::reconnect() {
    for (auto* index : {&page_.req_cons, &page_.req_prod, &page_.rsp_cons, &page_.rsp_prod, &page_.error}) {
        store(*index, 0);
    }
    store(page_.connection, XENSTORE_CONNECTED);
}

} // namespace domus::xenstore::server
