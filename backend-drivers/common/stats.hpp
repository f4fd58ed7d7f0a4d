// A device's figures for people who look from outside (`domus ring`, `domus device-stats`): a small file in tmpfs that
// says itself what is in it, written in place and read by anybody who may, without asking the backend.
// Owner: a driver. No lock: one writer; a reader sees each value whole, but not all of one moment.
// Layout (version 1): Header, then `count` times Entry. An entry is never removed while the device lives.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace domus::backend {

/// Folder of the files, TYPE/DOMID-DEVID ("domus-vbd/3-51712"). A type's folder is its daemon's user's: what is in it
/// is not to be trusted.
inline constexpr const char* stats_folder = "/run/domus/stats";

namespace stats {
inline constexpr char magic[8] = {'d', 'o', 'm', 'u', 's', 's', 't', '1'};
inline constexpr std::size_t most_entries = 126;
enum class Kind : std::uint32_t {
    Count = 1, ///< goes up only: a rate can be made of it
    Level = 2  ///< a size, an index, a feature (0 or 1): shown as it is
};
struct Header {
    char magic[8];
    std::atomic<std::uint32_t> count;
    std::uint32_t pid;
    std::uint64_t unused[2];
};
struct Entry {
    char name[20]; ///< ends with a zero byte; "q0.req_cons": a queue's own figure
    Kind kind;
    std::atomic<std::uint64_t> value;
};
static_assert(sizeof(Header) == 32 && sizeof(Entry) == 32);
struct Page {
    Header header;
    Entry entries[most_entries];
};
struct Figure {
    std::string name;
    Kind kind;
    std::uint64_t value;
};
/// What a file says now. Throws std::runtime_error when it is no such file, or a link, or anything that could be waited
/// for.
std::vector<Figure> read(const std::string& path);
/// Who wrote it; the process may be gone by now (killed: the file stays). Throws as read().
std::uint32_t writer(const std::string& path);
} // namespace stats

namespace stats::detail {
inline std::atomic<std::uint64_t> nowhere; ///< where figures go that nobody asked for
}

/// The writing end. Without a path, or when the file cannot be made, figures are kept in memory only: a device must
/// not fail for want of them.
class Stats {
public:
    explicit Stats(const std::string& path = {});
    Stats(const Stats&) = delete;
    Stats& operator=(const Stats&) = delete;
    ~Stats(); ///< removes the file

    class Value {
    public:
        explicit Value(std::atomic<std::uint64_t>* value = &stats::detail::nowhere) : value_(value) {}
        void add(std::uint64_t more = 1) { set(get() + more); } // one writer: no locked instruction is needed
        void set(std::uint64_t now) { value_->store(now, std::memory_order_relaxed); }
        std::uint64_t get() const { return value_->load(std::memory_order_relaxed); }

    private:
        std::atomic<std::uint64_t>* value_;
    };

    /// The figure of this name, made if it is new (at zero). Figures beyond the page's room share one that nobody sees.
    Value count(std::string_view name) { return find(name, stats::Kind::Count); }
    Value level(std::string_view name) { return find(name, stats::Kind::Level); }

private:
    Value find(std::string_view name, stats::Kind kind);

    std::string path_;
    stats::Page* page_ = nullptr;
    std::atomic<std::uint64_t> overflow_{0};
};

/// What every ring shows of itself: PREFIXevents, PREFIXnotifies (sent to the frontend), PREFIXentries, and as far as
/// the backend has come, PREFIXreq_cons and PREFIXrsp_prod. PREFIX is "q0." or, with two rings in a queue, "q0.tx_".
struct RingFigures {
    RingFigures() = default;
    RingFigures(Stats& stats, const std::string& prefix)
        : events(stats.count(prefix + "events")), notifies(stats.count(prefix + "notifies")),
          entries(stats.level(prefix + "entries")), taken(stats.level(prefix + "req_cons")),
          answered(stats.level(prefix + "rsp_prod")) {}

    template <class Ring>
    void note(const Ring& ring) {
        entries.set(ring.size());
        taken.set(ring.consumed());
        answered.set(ring.produced());
    }

    Stats::Value events, notifies, entries, taken, answered;
};

} // namespace domus::backend
