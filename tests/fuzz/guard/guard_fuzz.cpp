// libFuzzer target of the guard: 16 bytes are a step of hostile domains (tests/guard/step.hpp), after each of which the
// model judges. Run: guard_fuzz -max_len=16000 [CORPUS]
#include "tests/guard/world.hpp"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace domus::guard;
    World world;
    bool sound = true;
    for (std::size_t at = 0; sound && at + sizeof(Step) <= size; at += sizeof(Step)) {
        Step step;
        std::memcpy(&step, data + at, sizeof step);
        sound = world.run(step);
    }
    if (sound && world.end())
        return 0;
    for (const auto& line : world.model().broken())
        std::fprintf(stderr, "guard: %s\n", line.c_str());
    std::abort();
}
