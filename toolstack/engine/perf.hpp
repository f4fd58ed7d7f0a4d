// Where `domus perf` gets its figures from. Owner: domusd's main. No lock, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace domus::engine {

/// One counter; a histogram has several values.
struct PerfCounter {
    std::string name;
    std::vector<std::uint64_t> values;
};

class PerfSource {
public:
    virtual ~PerfSource() = default;
    /// Counters of the whole machine, or of one domain. Throws std::runtime_error when the hypervisor has none.
    virtual std::vector<PerfCounter> counters(std::optional<std::uint16_t> domid) = 0;
    virtual void reset_counters() = 0;
};

} // namespace domus::engine
