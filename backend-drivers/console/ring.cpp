// See ring.hpp.
#include "backend-drivers/console/ring.hpp"

#include <algorithm>
#include <cstring>

namespace domus::console {
namespace {

/// One read of a shared index; what follows sees at least what the guest wrote before it moved the index.
XENCONS_RING_IDX load(const XENCONS_RING_IDX& shared) {
    return __atomic_load_n(&shared, __ATOMIC_ACQUIRE);
}

/// One write of a shared index, after everything before it: pairs with the guest's read barrier.
void store(XENCONS_RING_IDX& shared, XENCONS_RING_IDX value) {
    __atomic_store_n(&shared, value, __ATOMIC_RELEASE);
}

} // namespace

Ring::Taken Ring::take_output() {
    constexpr std::size_t size = sizeof page_->out;
    const XENCONS_RING_IDX produced = load(page_->out_prod), consumed = load(page_->out_cons);
    const XENCONS_RING_IDX count = produced - consumed; // indices run freely and wrap
    if (count > size) {
        store(page_->out_cons, produced);
        return {.bytes = {}, .corrupt = true};
    }
    const std::size_t start = MASK_XENCONS_IDX(consumed, page_->out);
    const std::size_t first = std::min<std::size_t>(count, size - start);
    Taken taken;
    taken.bytes.assign(page_->out + start, first);
    taken.bytes.append(page_->out, count - first);
    store(page_->out_cons, produced);
    return taken;
}

std::size_t Ring::give_input(std::string_view bytes) {
    constexpr std::size_t size = sizeof page_->in;
    const XENCONS_RING_IDX consumed = load(page_->in_cons), produced = load(page_->in_prod);
    const XENCONS_RING_IDX filled = produced - consumed;
    if (filled > size) {
        return 0; // nonsense counts as full: the guest gets no input until its indices make sense
    }
    const std::size_t count = std::min<std::size_t>(bytes.size(), size - filled);
    const std::size_t start = MASK_XENCONS_IDX(produced, page_->in);
    const std::size_t first = std::min(count, size - start);
    std::memcpy(page_->in + start, bytes.data(), first);
    std::memcpy(page_->in, bytes.data() + first, count - first);
    store(page_->in_prod, produced + static_cast<XENCONS_RING_IDX>(count));
    return count;
}

} // namespace domus::console
