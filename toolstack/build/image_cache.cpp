// See image_cache.hpp.
#include "toolstack/build/image_cache.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

#include "toolstack/build/build.hpp"

namespace domus::build {

namespace fs = std::filesystem;
using image::Bytes;

namespace {

constexpr std::size_t images_in_memory = 2;
constexpr std::uint64_t max_kernel_file = 512u << 20;

/// First page of an entry. The unpacked image follows on the next page, the packed original after it.
struct Header {
    char magic[16] = {'d', 'o', 'm', 'u', 's', ' ', 'i', 'm', 'a', 'g', 'e', ' ', '1'};
    std::uint64_t elf_size = 0, source_size = 0;
};
constexpr std::size_t elf_offset = 4096;

/// Names an entry; equal names are told apart by comparing the contents, so speed is all it needs.
std::uint64_t fingerprint(Bytes bytes) {
    std::uint64_t lanes[4] = {bytes.size(), 1, 2, 3};
    std::size_t at = 0;
    for (; at + 32 <= bytes.size(); at += 32) {
        std::uint64_t words[4];
        std::memcpy(words, bytes.data() + at, sizeof words);
        for (int i = 0; i < 4; ++i) {
            lanes[i] = std::rotl((lanes[i] ^ words[i]) * 0x9e3779b97f4a7c15, 29);
        }
    }
    std::uint64_t hash = lanes[0] ^ std::rotl(lanes[1], 17) ^ std::rotl(lanes[2], 31) ^ std::rotl(lanes[3], 47);
    for (; at < bytes.size(); ++at) {
        hash = (hash ^ bytes[at]) * 0x100000001b3;
    }
    return hash;
}

std::string reason(const std::string& path, const image::Error& error) {
    return fmt::format("kernel {}: {}", path, error.message);
}

bool is_elf(Bytes file) {
    return file.size() >= 4 && std::memcmp(file.data(), "\177ELF", 4) == 0;
}

std::shared_ptr<Image> judged(const std::string& path, Memory memory, Bytes elf) {
    auto kernel = image::parse_elf(elf);
    if (!kernel) {
        throw Error(reason(path, kernel.error()));
    }
    auto result = std::make_shared<Image>();
    result->memory = std::move(memory);
    result->elf = elf;
    result->kernel = *kernel;
    return result;
}

/// A file beside its final name, until it is whole.
class Draft {
public:
    explicit Draft(const std::string& final_name) : final_(final_name), name_(final_name + ".XXXXXX") {
        file_ = File(::mkostemp(name_.data(), O_CLOEXEC));
    }
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;
    ~Draft() {
        if (file_ && !kept_) {
            ::unlink(name_.c_str());
        }
    }
    /// Writable memory of the file; empty when the disk is full. All room is taken now: a full disk would otherwise
    /// show as a signal in the middle of unpacking.
    Memory map(std::size_t bytes) const {
        if (!file_ || ::posix_fallocate(file_.get(), 0, static_cast<off_t>(bytes)) != 0) {
            return {};
        }
        return Memory::of_file(file_, bytes, true);
    }
    void keep() { kept_ = ::fsync(file_.get()) == 0 && ::rename(name_.c_str(), final_.c_str()) == 0; }

private:
    std::string final_, name_;
    File file_;
    bool kept_ = false;
};

} // namespace

ImageCache::ImageCache(std::string folder) : folder_(std::move(folder)) {
    std::error_code failed;
    fs::create_directories(fs::path(folder_).parent_path(), failed);
    ::mkdir(folder_.c_str(), 0700);
    struct stat status {};
    usable_ = ::lstat(folder_.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() &&
              (status.st_mode & 022) == 0;
}

ImageCache::Identity ImageCache::identify(const struct stat& s) {
    constexpr std::int64_t second = 1'000'000'000;
    return {s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size), s.st_mtim.tv_sec * second + s.st_mtim.tv_nsec,
            s.st_ctim.tv_sec * second + s.st_ctim.tv_nsec};
}

std::shared_ptr<const Image> ImageCache::load(const std::string& path, const Progress& progress) {
    struct stat status {};
    const File file = open_input(path, "kernel", status);
    const Identity identity = identify(status);
    const auto found = std::find_if(held_.begin(), held_.end(), [&](const Held& h) { return h.identity == identity; });
    if (found != held_.end()) {
        held_.splice(held_.begin(), held_, found);
        return found->image;
    }
    if (identity.size > max_kernel_file) {
        throw Error(fmt::format("kernel {} has {} MiB, more than any kernel: wrong file?", path, identity.size >> 20));
    }
    progress("reading kernel");
    Memory source = Memory::anonymous(identity.size);
    read_whole(file, source.span(), path);
    if (is_elf(source.span())) { // nothing to unpack, nothing to keep
        const Bytes elf = source.span();
        return judged(path, std::move(source), elf);
    }
    auto image = unpacked(path, std::move(source), progress);
    // A file changed within the clock's grain looks unchanged: only what has been still for a while is recognised.
    constexpr std::int64_t settled_ns = 2'000'000'000;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec - identity.changed_ns > settled_ns) {
        held_.push_front({identity, image});
        if (held_.size() > images_in_memory) {
            held_.pop_back();
        }
    }
    return image;
}

std::shared_ptr<const Image> ImageCache::unpacked(const std::string& path, Memory source, const Progress& progress) {
    const Bytes bytes = source.span();
    const std::string entry = fmt::format("{}/{:016x}-{:x}.image", folder_, fingerprint(bytes), bytes.size());
    if (usable_) {
        if (auto image = from_disk(entry, bytes)) {
            return image;
        }
    }
    progress("unpacking kernel (the first time only)");
    auto image = unpack(path, entry, std::move(source));
    if (usable_) {
        evict();
    }
    return image;
}

std::shared_ptr<Image> ImageCache::from_disk(const std::string& entry, Bytes source) const {
    struct stat status {};
    const File file(::open(entry.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file || ::fstat(file.get(), &status) != 0 || static_cast<std::size_t>(status.st_size) < elf_offset) {
        return nullptr;
    }
    const auto size = static_cast<std::size_t>(status.st_size);
    Memory memory = Memory::of_file(file, size, false);
    if (!memory) {
        return nullptr;
    }
    Header header;
    std::memcpy(static_cast<void*>(&header), memory.span().data(), sizeof header);
    const Bytes rest = Bytes(memory.span()).subspan(elf_offset);
    const bool whole = std::memcmp(header.magic, Header{}.magic, sizeof header.magic) == 0 &&
                       header.source_size == source.size() && header.elf_size <= rest.size() &&
                       rest.size() - header.elf_size == header.source_size;
    if (!whole || std::memcmp(rest.data() + header.elf_size, source.data(), source.size()) != 0) {
        return nullptr; // damaged, or another kernel of the same name: it is unpacked anew and replaces this one
    }
    ::utimensat(AT_FDCWD, entry.c_str(), nullptr, 0); // used now: evict() keeps it
    const Bytes elf = rest.first(header.elf_size);
    try {
        return judged(entry, std::move(memory), elf);
    } catch (const Error&) {
        return nullptr;
    }
}

std::shared_ptr<Image> ImageCache::unpack(const std::string& path, const std::string& entry, Memory source) const {
    const Bytes bytes = source.span();
    const auto size = image::unpacked_size(bytes);
    if (!size) {
        throw Error(reason(path, size.error()));
    }
    const auto scratch_size = image::scratch_size(bytes);
    if (!scratch_size) {
        throw Error(reason(path, scratch_size.error()));
    }
    std::optional<Draft> draft;
    Memory memory;
    if (usable_) {
        draft.emplace(entry);
        memory = draft->map(elf_offset + *size + bytes.size());
    }
    const bool keep = static_cast<bool>(memory);
    if (!keep) {
        memory = Memory::anonymous(elf_offset + *size);
    }
    const Memory scratch = Memory::anonymous(*scratch_size);
    const auto elf = image::unpack(bytes, memory.span().subspan(elf_offset, *size), scratch.span());
    if (!elf) {
        throw Error(reason(path, elf.error()));
    }
    if (elf->data() != memory.span().data() + elf_offset) { // stored unpacked inside the kernel's file
        return judged(path, std::move(source), *elf);
    }
    auto result = judged(path, std::move(memory), *elf); // what is no PV kernel is not kept
    if (keep && elf->size() == *size) {
        const auto file = result->memory.span();
        Header header;
        header.elf_size = *size;
        header.source_size = bytes.size();
        std::memcpy(file.data(), &header, sizeof header);
        std::memcpy(file.data() + elf_offset + *size, bytes.data(), bytes.size());
        draft->keep();
    }
    return result;
}

void ImageCache::evict() const {
    struct Entry {
        fs::file_time_type used;
        fs::path path;
    };
    std::vector<Entry> entries;
    std::error_code failed;
    const auto now = fs::file_time_type::clock::now();
    for (const auto& item : fs::directory_iterator(folder_, failed)) {
        const auto used = item.last_write_time(failed);
        if (item.path().extension() == ".image") {
            entries.push_back({used, item.path()});
        } else if (!failed && now - used > std::chrono::hours(1)) {
            fs::remove(item.path(), failed); // a draft whose writer died
        }
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used > b.used; });
    for (std::size_t i = max_entries; i < entries.size(); ++i) {
        fs::remove(entries[i].path, failed);
    }
}

} // namespace domus::build
