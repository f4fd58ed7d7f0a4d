// See stats.hpp.
#include "backend-drivers/common/stats.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

namespace domus::backend {

namespace {

/// Shared memory in a new file, or private memory when there is no file.
void* map_page(const std::string& path) {
    void* memory = MAP_FAILED;
    if (!path.empty()) {
        ::unlink(path.c_str()); // an earlier process' file: a reader that has it open keeps it
        const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (file >= 0 && ::ftruncate(file, sizeof(stats::Page)) == 0) {
            memory = ::mmap(nullptr, sizeof(stats::Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        }
        if (memory == MAP_FAILED) {
            spdlog::warn("no figures in {}: {}", path, std::strerror(errno));
        }
        if (file >= 0) {
            ::close(file);
        }
    }
    if (memory == MAP_FAILED) {
        memory = ::mmap(nullptr, sizeof(stats::Page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (memory == MAP_FAILED) {
        throw std::bad_alloc();
    }
    return memory;
}

} // namespace

Stats::Stats(const std::string& path) : path_(path), page_(new (map_page(path)) stats::Page{}) {
    page_->header.pid = static_cast<std::uint32_t>(::getpid());
    std::memcpy(page_->header.magic, stats::magic, sizeof stats::magic);
}

Stats::~Stats() {
    ::munmap(page_, sizeof(stats::Page));
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

Stats::Value Stats::find(std::string_view name, stats::Kind kind) {
    const std::uint32_t count = page_->header.count.load(std::memory_order_relaxed);
    const auto shown = name.substr(0, sizeof(stats::Entry::name) - 1);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (shown == page_->entries[i].name) {
            return Value(&page_->entries[i].value);
        }
    }
    if (count == stats::most_entries) {
        return Value(&overflow_);
    }
    stats::Entry& entry = page_->entries[count];
    shown.copy(entry.name, shown.size());
    entry.kind = kind;
    page_->header.count.store(count + 1, std::memory_order_release); // pairs with read()'s acquire
    return Value(&entry.value);
}

namespace {

/// The writer may be in a guest's hands: nothing is opened for it that it could not open itself, or that blocks.
std::unique_ptr<stats::Page> load(const std::string& path) {
    auto page = std::make_unique<stats::Page>();
    const int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat info {};
    ssize_t got = -1;
    if (file >= 0) {
        if (::fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1) {
            got = ::read(file, page.get(), sizeof(stats::Page));
        }
        ::close(file);
    }
    if (got != ssize_t{sizeof(stats::Page)} ||
        std::memcmp(page->header.magic, stats::magic, sizeof stats::magic) != 0) {
        throw std::runtime_error(path + ": no figures of a device");
    }
    return page;
}

} // namespace

std::uint32_t stats::writer(const std::string& path) {
    return load(path)->header.pid;
}

std::vector<stats::Figure> stats::read(const std::string& path) {
    const auto page = load(path);
    std::vector<Figure> figures;
    const auto count = std::min<std::size_t>(page->header.count.load(std::memory_order_acquire), most_entries);
    for (std::size_t i = 0; i < count; ++i) {
        const Entry& entry = page->entries[i];
        std::string name(entry.name, ::strnlen(entry.name, sizeof entry.name));
        std::replace_if( // it is shown on terminals
            name.begin(), name.end(), [](char c) { return c <= ' ' || c > '~'; }, '?');
        figures.push_back({std::move(name), entry.kind, entry.value.load(std::memory_order_relaxed)});
    }
    return figures;
}

} // namespace domus::backend
