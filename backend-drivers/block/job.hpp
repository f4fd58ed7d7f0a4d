// A request of a queue on its way, with the pages for its data. Owner: its Queue, which keeps and uses it again. No
// lock, one io_context. Only for queue.cpp and queue_data.cpp.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>

#include "backend-drivers/block/queue.hpp"

namespace domus::block {

struct Queue::Job final : Io {
    ~Job() override { std::free(buffer); }
    void done(int error) override {
        const auto kept = std::move(queue); // may be the last owner of the queue, and so of this
        if (direct && (error == -EFAULT || error == -EINVAL)) {
            kept->start_indirectly(*this, -error);
            return;
        }
        if (error != 0) {
            status = error == -EOPNOTSUPP ? BLKIF_RSP_EOPNOTSUPP : BLKIF_RSP_ERROR;
        }
        kept->completed(*this);
    }
    void need(std::size_t bytes) {
        if (bytes > capacity) {
            std::free(buffer);
            capacity = (bytes + page_size - 1) / page_size * page_size;
            buffer = static_cast<std::uint8_t*>(std::aligned_alloc(page_size, capacity));
            if (buffer == nullptr) {
                capacity = 0;
                throw std::bad_alloc();
            }
        }
    }

    /// Whether all its data is in pages that stay mapped.
    bool all_mapped() const {
        return std::all_of(pages.begin(), pages.begin() + request.segment_count,
                           [](const auto& page) { return bool(page); });
    }
    /// Makes `parts` of the guest's pages; those side by side are one.
    std::span<const iovec> gather() {
        std::size_t count = 0;
        for (std::size_t i = 0; i < request.segment_count; ++i) {
            const Segment& segment = request.segments[i];
            std::uint8_t* begin = pages[i].page() + segment.offset;
            iovec* last = count == 0 ? nullptr : &vectors[count - 1];
            if (last != nullptr && static_cast<std::uint8_t*>(last->iov_base) + last->iov_len == begin) {
                last->iov_len += segment.length;
            } else {
                vectors[count++] = {begin, segment.length};
            }
        }
        return std::span(vectors.data(), count);
    }
    void let_go() {
        for (std::size_t i = 0; i < request.segment_count; ++i) {
            pages[i] = {};
        }
    }

    blkif_request_t slot;
    Request request;
    std::int16_t status = BLKIF_RSP_OKAY;
    bool finished = false;
    std::size_t steps = 0;        ///< of a barrier: how many were begun
    std::shared_ptr<Queue> queue; ///< while the medium works on it
    std::uint8_t* buffer = nullptr;
    std::size_t capacity = 0;
    bool direct = false; ///< the medium works on the guest's pages: `buffer` is not used
    std::array<PersistentGrants::Hold, most_segments> pages; ///< of the segments, where they are mapped
    std::array<iovec, most_segments> vectors;
    std::uint8_t* place = nullptr; ///< where its data lies on the medium, when that is memory: `buffer` is not used
    alignas(512) std::array<blkif_request_segment, most_segments> indirect; // crosses no page
};

} // namespace domus::block
