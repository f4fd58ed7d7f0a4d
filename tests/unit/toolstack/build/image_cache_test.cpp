// The cache of unpacked kernels: found by content, never torn, never confused, never full.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/unit/hypervisor/boot/image/sample.hpp"
#include "toolstack/build/build.hpp"
#include "toolstack/build/image_cache.hpp"

namespace domus::build {
namespace {

namespace fs = std::filesystem;
using namespace image::test;

struct CacheTest : testing::Test {
    fs::path base = fs::path(testing::TempDir()) / ("domus-cache-" + std::to_string(::getpid()));
    fs::path folder = base / "images";
    int unpacked = 0;

    void SetUp() override { fs::create_directories(base); }
    void TearDown() override { fs::remove_all(base); }

    std::string kernel(const char* name, std::uint8_t fill) const {
        Sample sample;
        sample.body.assign(0x3000, fill);
        const Buffer elf = sample.make();
        const Buffer file = bzimage(pack_gzip(elf), std::nullopt);
        const auto path = base / name;
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
        return path;
    }
    /// A process' first load of a kernel; returns a byte of its text.
    int load(const std::string& path) {
        ImageCache cache(folder);
        const auto image = cache.load(path, [&](std::string_view stage) { unpacked += stage.starts_with("unpack"); });
        return image->elf[Sample::text_offset];
    }
    std::vector<fs::path> entries() const {
        std::vector<fs::path> all;
        for (const auto& item : fs::directory_iterator(folder)) {
            all.push_back(item.path());
        }
        return all;
    }
};

TEST_F(CacheTest, AKernelIsUnpackedOnceWhateverItIsCalled) {
    EXPECT_EQ(load(kernel("a", 7)), 7);
    EXPECT_EQ(load(kernel("b", 7)), 7);
    EXPECT_EQ(unpacked, 1);
    EXPECT_EQ(load(kernel("a", 8)), 8) << "a changed file must not give the old kernel";
    EXPECT_EQ(unpacked, 2);
}

TEST_F(CacheTest, TheSameProcessNoticesAChangedFile) {
    ImageCache cache(folder);
    const auto none = [](std::string_view) {};
    EXPECT_EQ(cache.load(kernel("a", 1), none)->elf[Sample::text_offset], 1);
    EXPECT_EQ(cache.load(kernel("a", 2), none)->elf[Sample::text_offset], 2);
}

TEST_F(CacheTest, DamagedEntriesAreReplaced) {
    const auto path = kernel("a", 7);
    load(path);
    const auto entry = entries().at(0);
    const auto size = fs::file_size(entry);
    for (const std::uintmax_t cut :
         {std::uintmax_t{0}, std::uintmax_t{100}, std::uintmax_t{4096}, size - 1, size + 1}) {
        fs::resize_file(entry, cut);
        EXPECT_EQ(load(path), 7) << "cut to " << cut;
        EXPECT_EQ(fs::file_size(entry), size);
    }
    {
        std::fstream file(entry, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(16);
        file.write("\xff\xff\xff\xff\xff\xff\xff\xff", 8); // an unpacked size beyond everything
    }
    EXPECT_EQ(load(path), 7);
    EXPECT_EQ(unpacked, 7);
}

TEST_F(CacheTest, AnEntryOfTheSameNameForAnotherKernelIsNotUsed) {
    const auto path = kernel("a", 7);
    load(path);
    const auto entry = entries().at(0);
    {
        std::fstream file(entry, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(-1, std::ios::end); // the packed original kept for comparison
        file.put('\x55');
    }
    EXPECT_EQ(load(path), 7);
    EXPECT_EQ(unpacked, 2);
}

TEST_F(CacheTest, TheOldestEntriesGo) {
    for (std::uint8_t i = 0; i < 7; ++i) {
        load(kernel("a", i));
    }
    EXPECT_EQ(entries().size(), ImageCache::max_entries);
}

TEST_F(CacheTest, ADeadWritersDraftGoesAndALiveOnesStays) {
    fs::create_directories(folder);
    fs::permissions(folder, fs::perms(0700));
    std::ofstream(folder / "x.image.abcdef") << "dead";
    fs::last_write_time(folder / "x.image.abcdef", fs::file_time_type::clock::now() - std::chrono::hours(2));
    std::ofstream(folder / "y.image.ghijkl") << "live";
    load(kernel("a", 1));
    EXPECT_FALSE(fs::exists(folder / "x.image.abcdef"));
    EXPECT_TRUE(fs::exists(folder / "y.image.ghijkl"));
}

TEST_F(CacheTest, AFolderOthersMayWriteIsNotUsed) {
    fs::create_directories(folder);
    fs::permissions(folder, fs::perms(0777));
    EXPECT_EQ(load(kernel("a", 7)), 7);
    EXPECT_TRUE(entries().empty());
}

TEST_F(CacheTest, ABadKernelLeavesNothingBehind) {
    auto path = kernel("a", 7);
    fs::resize_file(path, fs::file_size(path) / 2);
    EXPECT_THROW(load(path), Error);
    EXPECT_TRUE(entries().empty());
    std::ofstream(base / "text") << "this is no kernel, and long enough to be looked at";
    EXPECT_THROW(load(base / "text"), Error);
}

} // namespace
} // namespace domus::build
