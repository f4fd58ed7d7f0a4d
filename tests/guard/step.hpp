// One step of a run: what happens next, in 16 bytes that mean something whatever they are. Choices are numbers that the
// step's own bytes answer first, and then a generator that starts from them, so that a step is the same wherever it
// stands. Text form (regression files): one step a line, 32 hexadecimal digits; what follows # is a comment.
#pragma once

#include "hypervisor/base/types.hpp"

#include <array>
#include <istream>
#include <ostream>
#include <vector>

namespace domus::guard {

struct Step {
    u8 what = 0, who = 0, preempt = 0;
    std::array<u8, 13> choices{};
};
static_assert(sizeof(Step) == 16);

using Steps = std::vector<Step>;

Steps random_steps(u64 seed, usize count);
Steps read_steps(std::istream&); // throws std::runtime_error on a line that is none
void write_steps(std::ostream&, const Steps&);

// Answers of one step.
class Choices {
public:
    explicit Choices(const Step&);
    u64 pick(u64 limit); // 0 .. limit-1
    bool one_in(u64 n) { return pick(n) == 0; }
    u64 bits();
    template <class T>
    const T& of(const T* list, usize count) {
        return list[pick(count)];
    }

private:
    u8 byte();
    const Step& step_;
    usize used_ = 0;
    u64 state_;
};

} // namespace domus::guard
