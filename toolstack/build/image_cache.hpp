// Unpacked kernels, kept by content, so that a kernel is unpacked once and not at every create.
// On disk: one file per kernel, holding the unpacked image and the packed original, which is compared byte for byte
// before it is believed: equal names of different kernels cannot be confused. Files appear whole by rename(2), so
// concurrent writers and a crash leave no torn entry. In memory: the last few images of this process stay mapped.
// Owner: one per process. No lock: one thread. It never writes to the kernel's own file.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "hypervisor/boot/image/image.hpp"
#include "toolstack/build/file.hpp"

namespace domus::build {

/// An unpacked and judged kernel; `elf` lies in `memory`.
struct Image {
    Memory memory;
    image::Bytes elf;
    image::Kernel kernel;
};

class ImageCache {
public:
    using Progress = std::function<void(std::string_view)>;

    /// @param folder  made when it is missing (mode 0700). A folder that others may write to, or that cannot be made,
    ///                is not used: kernels are then unpacked every time.
    explicit ImageCache(std::string folder);

    /// The kernel in `path`, unpacked. Throws build::Error naming the file and what is wrong with it.
    std::shared_ptr<const Image> load(const std::string& path, const Progress& progress);

    /// Kernels kept on disk; the ones used longest ago go first.
    static constexpr unsigned max_entries = 4;

private:
    /// Which file this was: as long as all of it is the same, the content is.
    struct Identity {
        std::uint64_t device, inode, size;
        std::int64_t modified_ns, changed_ns;
        bool operator==(const Identity&) const = default;
    };
    struct Held {
        Identity identity;
        std::shared_ptr<const Image> image;
    };
    static Identity identify(const struct stat& status);
    std::shared_ptr<const Image> unpacked(const std::string& path, Memory source, const Progress& progress);
    std::shared_ptr<Image> from_disk(const std::string& entry, image::Bytes source) const;
    std::shared_ptr<Image> unpack(const std::string& path, const std::string& entry, Memory source) const;
    void evict() const;

    std::string folder_;
    bool usable_ = false;
    std::list<Held> held_;
};

} // namespace domus::build
