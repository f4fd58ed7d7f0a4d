// Disk requests made of bytes, as a hostile guest writes them: slots and indirect segments through the same judgement
// as the queue's, and the references of a frontend with persistent grants. Aborts when what was let through would reach
// beyond the medium, beyond a page, or beyond the buffers, when a page that is held is not the one it was, or when more
// is mapped than may be; the sanitizers see the rest. What the queue then does with the ring is in
// tests/unit/backend-drivers/block. The first byte: the lowest bits what the medium can, 128 persistent grants.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <spdlog/spdlog.h>

#include "backend-drivers/block/persistent_grants.hpp"
#include "backend-drivers/block/request.hpp"
#include "backend-drivers/common/ring.hpp"
#include "tests/fuzz/backend-drivers/input.hpp"
#include "tests/unit/hypervisor/client/fake_grants.hpp"

namespace {
using namespace domus::block;

using domus::fuzz::demand;
using domus::fuzz::Input;

/// Mostly near to what is right, so that more than the first check is reached.
void tame(blkif_request_t& slot, std::uint8_t how) {
    if (how % 4 == 0) {
        return;
    }
    slot.operation %= 8;
    if (slot.operation == BLKIF_OP_INDIRECT) {
        blkif_request_indirect_t indirect{};
        std::memcpy(&indirect, &slot, sizeof indirect);
        indirect.indirect_op %= 3;
        indirect.nr_segments = static_cast<std::uint16_t>(indirect.nr_segments % (most_segments + 2));
        indirect.sector_number %= 5000;
        std::memcpy(&slot, &indirect, sizeof indirect);
        return;
    }
    slot.sector_number %= 5000;
    slot.nr_segments = static_cast<std::uint8_t>(slot.nr_segments % (BLKIF_MAX_SEGMENTS_PER_REQUEST + 2));
    for (auto& segment : slot.seg) {
        segment.first_sect %= 9;
        segment.last_sect %= 9;
    }
}

void holds(const Request& request, const Medium& medium) {
    if (request.kind == Kind::Flush) {
        return;
    }
    demand(request.offset <= medium.bytes && request.length <= medium.bytes - request.offset);
    demand(request.offset % sector_size == 0 && request.length % sector_size == 0);
    demand(!medium.read_only || request.kind == Kind::Read);
    demand(request.kind != Kind::Discard || medium.discard);
    if (request.kind == Kind::Discard) {
        return;
    }
    std::uint64_t sum = 0;
    demand(request.segment_count != 0 && request.segment_count <= most_segments);
    for (const auto& segment : std::span(request.segments.data(), request.segment_count)) {
        demand(segment.length != 0 && std::size_t{segment.offset} + segment.length <= page_size);
        sum += segment.length;
    }
    demand(sum == request.length);
}

void judge(const blkif_request_t& slot, Input& in, const Medium& medium) {
    Request request;
    std::int16_t status = parse(slot, request);
    if (status == BLKIF_RSP_OKAY && request.indirect_count != 0) {
        demand(request.indirect_count <= most_segments);
        std::array<blkif_request_segment, most_segments> list{};
        in.fill(list.data(), request.indirect_count * sizeof list[0]);
        const bool wild = in.byte() % 4 == 0;
        for (auto& segment : list) {
            segment.first_sect = wild ? segment.first_sect : segment.first_sect % 9;
            segment.last_sect = wild ? segment.last_sect : segment.last_sect % 9;
        }
        status = add_segments(std::span(list.data(), request.indirect_count), request);
    }
    if (status == BLKIF_RSP_OKAY && check(request, medium) == BLKIF_RSP_OKAY) {
        holds(request, medium);
    }
}

constexpr std::uint32_t pages = 64; ///< references that a guest has; beyond are none
constexpr std::size_t most_kept = 24, most_of_all = 40;

/// Two rings of one guest, which share the room; what is held, of which reference.
struct Kept {
    std::shared_ptr<domus::client::test::FakeGrants> grants = std::make_shared<domus::client::test::FakeGrants>(pages);
    PersistentGrants::Room room = std::make_shared<std::size_t>(most_of_all);
    std::array<std::unique_ptr<PersistentGrants>, 2> rings;
    struct Held {
        PersistentGrants::Hold hold;
        std::uint32_t reference = 0;
    };
    std::array<std::array<Held, 8>, 2> held; ///< ends before the rings

    Kept() {
        for (std::uint32_t i = 0; i < pages; ++i) {
            grants->grant(i);
            std::memset(grants->page(i), static_cast<int>(i), domus::client::page_size);
        }
        connect(0);
        connect(1);
    }
    void connect(std::size_t which) {
        for (auto& slot : held[which]) {
            slot.hold = {};
        }
        rings[which] = std::make_unique<PersistentGrants>(grants, std::uint16_t{1}, most_kept, room,
                                                          domus::backend::Stats::Value());
    }
    /// References side by side; one of a few lists has one that is none.
    void keep(PersistentGrants& ring, Input& in) {
        const unsigned first = in.byte(), count = in.byte() % 32u, bad = in.byte();
        std::vector<std::uint32_t> missing;
        for (unsigned i = 0; i < count; ++i) {
            missing.push_back(i == bad ? pages + bad : (first + i) % pages);
        }
        ring.keep(missing);
    }
    void check() {
        demand(rings[0]->mapped() <= most_kept && rings[1]->mapped() <= most_kept);
        demand(rings[0]->mapped() + rings[1]->mapped() + *room == most_of_all);
        demand(grants->mapped == most_of_all - *room);
        for (const auto& ring : held) {
            for (const auto& [hold, reference] : ring) {
                demand(!hold || *hold.page() == static_cast<std::uint8_t>(reference));
            }
        }
    }
    void step(Input& in) {
        const std::size_t which = in.byte() % 2;
        PersistentGrants& ring = *rings[which];
        Held& slot = held[which][in.byte() % 8];
        const std::uint32_t reference = in.byte() % (pages + 4);
        switch (in.byte() % 8) {
        case 0:
            slot.hold = {};
            break;
        case 1:
            ring.clear();
            break;
        case 2:
            if (in.byte() % 8 == 0) {
                grants->revoke(reference);
            }
            break;
        case 3:
            grants->grant(reference % pages, in.byte() % 4 != 0);
            break;
        case 4:
        case 5:
            keep(ring, in);
            break;
        default:
            slot.hold = ring.hold(reference);
            slot.reference = reference;
        }
        check();
        if (ring.given_up() && in.byte() % 4 == 0) {
            connect(which);
        }
    }
};

void persistent(Input& in) {
    static const bool quiet = (spdlog::set_level(spdlog::level::off), true); // each giving up is told
    (void)quiet;
    Kept kept;
    while (in.left()) {
        kept.step(in);
    }
    kept.connect(0);
    kept.connect(1);
    demand(*kept.room == most_of_all && kept.grants->mapped == 0);
}

void requests(Input& in, std::uint8_t can) {
    alignas(page_size) static std::uint8_t page[page_size];
    std::memset(page, 0, sizeof page);
    using Ring = domus::backend::BackRing<blkif_request_t, blkif_response_t>;
    Ring ring(page, sizeof page);
    std::uint32_t asked = 0;
    const Medium medium{2048 * sector_size, (can & 1) != 0, (can & 2) != 0};
    try {
        while (in.left()) {
            for (unsigned i = in.byte() % ring.size(); i > 0; --i) {
                blkif_request_t slot;
                in.fill(&slot, sizeof slot);
                tame(slot, in.byte());
                std::memcpy(page + 64 + asked++ % ring.size() * sizeof slot, &slot, sizeof slot);
            }
            asked += in.byte() == 0 ? in.byte() * 8U : 0; // runs away now and then
            std::memcpy(page, &asked, sizeof asked);
            while (ring.waiting() != 0) {
                blkif_request_t slot;
                ring.take(slot);
                in.fill(page + 64, in.byte() % 64); // the guest goes on writing
                judge(slot, in, medium);
                ring.put({});
            }
            ring.publish();
            demand(ring.produced() == asked);
        }
    } catch (const domus::backend::RingError&) { // the device would be closed
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    const std::uint8_t can = in.byte();
    if (can >= 128) {
        persistent(in);
    } else {
        requests(in, can);
    }
    return 0;
}
