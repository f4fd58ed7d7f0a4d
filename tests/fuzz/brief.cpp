// A fuzz target without libFuzzer, for `make test`: the seeds, and seeds damaged by a generator with a fixed start.
// Finds less than libFuzzer, which follows branches; what it does find it finds every time.
// Run: PROGRAM ROUNDS [SEED_FILE...]; without files it makes up bytes.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::mt19937 generator(20031019); // any number, but always the same

std::size_t below(std::size_t limit) {
    return limit == 0 ? 0 : generator() % limit;
}

void run(const std::string& text) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

std::string made_up() {
    std::string text(below(2000), '\0');
    for (char& c : text)
        c = char(generator());
    return text;
}

void damage(std::string& text, const std::vector<std::string>& seeds) {
    const std::size_t at = below(text.size() + 1);
    const std::string& other = seeds[below(seeds.size())];
    const std::size_t from = below(other.size());
    switch (below(5)) {
    case 0:
        text.insert(at, 1 + below(3), char(generator()));
        break;
    case 1:
        text.erase(at, 1 + below(20));
        break;
    case 2:
        text.insert(at, other, from, below(60));
        break;
    case 3:
        text.resize(at);
        break;
    default:
        if (at < text.size())
            text[at] = char(text[at] ^ 1 << below(8));
    }
}

} // namespace

int main(int argc, char** argv) {
    const unsigned long rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1000;
    std::vector<std::string> seeds;
    for (int i = 2; i < argc; ++i) {
        std::ifstream in(argv[i], std::ios::binary);
        if (!in) {
            std::fprintf(stderr, "cannot read the seed %s\n", argv[i]);
            return 1;
        }
        seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
        run(seeds.back());
    }
    for (unsigned long round = 0; round < rounds; ++round) {
        std::string text = seeds.empty() ? made_up() : seeds[below(seeds.size())];
        if (!seeds.empty())
            for (std::size_t times = 1 + below(8); times > 0; --times)
                damage(text, seeds);
        run(text);
    }
    std::printf("%lu inputs\n", rounds + seeds.size());
    return 0;
}
