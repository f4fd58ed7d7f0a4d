// Steps: made up, written down, and read again. See step.hpp.
#include "tests/guard/step.hpp"

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

namespace domus::guard {

Steps random_steps(u64 seed, usize count) {
    std::mt19937_64 random(seed);
    Steps steps(count);
    for (Step& step : steps) {
        const u64 words[2] = {random(), random()};
        std::memcpy(&step, words, sizeof step);
    }
    return steps;
}

Steps read_steps(std::istream& in) {
    Steps steps;
    for (std::string line; std::getline(in, line);) {
        line = line.substr(0, line.find('#'));
        while (!line.empty() && line.back() == ' ')
            line.pop_back();
        if (line.empty())
            continue;
        if (line.size() != 2 * sizeof(Step) || line.find_first_not_of("0123456789abcdef") != line.npos)
            throw std::runtime_error("not a step: " + line);
        u8 bytes[sizeof(Step)];
        for (usize i = 0; i < sizeof bytes; ++i)
            bytes[i] = static_cast<u8>(std::stoul(line.substr(2 * i, 2), nullptr, 16));
        Step step;
        std::memcpy(&step, bytes, sizeof step);
        steps.push_back(step);
    }
    return steps;
}

void write_steps(std::ostream& out, const Steps& steps) {
    constexpr char digits[] = "0123456789abcdef";
    for (const Step& step : steps) {
        u8 bytes[sizeof step];
        std::memcpy(bytes, &step, sizeof step);
        for (u8 b : bytes)
            out << digits[b >> 4] << digits[b & 15];
        out << '\n';
    }
}

Choices::Choices(const Step& step) : step_(step), state_(step.what * 257u + step.who) {
    for (u8 b : step.choices)
        state_ = (state_ ^ b) * 0x100000001b3;
}

u8 Choices::byte() {
    if (used_ < step_.choices.size())
        return step_.choices[used_++];
    state_ += 0x9e3779b97f4a7c15;
    u64 z = (state_ ^ state_ >> 30) * 0xbf58476d1ce4e5b9;
    return static_cast<u8>(z >> 56);
}

u64 Choices::pick(u64 limit) {
    if (limit <= 1)
        return 0;
    u64 value = byte();
    for (u64 reach = 256; reach < limit; reach <<= 8)
        value = value << 8 | byte();
    return value % limit;
}

u64 Choices::bits() {
    u64 value = 0;
    for (int i = 0; i < 8; ++i)
        value = value << 8 | byte();
    return value;
}

} // namespace domus::guard
