// Reading, appending, compacting. See journal.hpp.
#include "xenstore-lite/server/journal.hpp"

#include <boost/crc.hpp>
#include <spdlog/spdlog.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace domus::xenstore::server {

namespace {
constexpr std::size_t least_rewrite = 1024 * 1024;
constexpr std::string_view magic = "domus-xenstore-1 ";

struct BatchHead {
    std::uint32_t size;
    std::uint32_t checksum;
};

std::uint32_t checksum_of(std::string_view bytes) {
    boost::crc_32_type crc;
    crc.process_bytes(bytes.data(), bytes.size());
    return crc.checksum();
}

std::string boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    file >> id;
    return id;
}
} // namespace

Journal::Journal(std::filesystem::path folder)
    : folder_(std::move(folder)), head_(std::string(magic) + boot_id() + "\n") {
    std::filesystem::create_directories(folder_);
    std::filesystem::permissions(folder_, std::filesystem::perms::owner_all);
}

Journal::~Journal() {
    if (file_ >= 0) {
        close(file_);
    }
}

void Journal::open_file() {
    const auto path = folder_ / "journal";
    file_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file_ < 0) {
        throw std::system_error(errno, std::generic_category(), "cannot open the journal " + path.string());
    }
}

bool Journal::load(const std::function<void(const tree::Record&)>& restore) {
    std::ifstream input(folder_ / "journal", std::ios::binary);
    const std::string content((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
    const bool ours = content.starts_with(head_);
    if (!content.empty() && !ours) {
        spdlog::warn("journal {} is of an earlier boot or another version: starting empty", folder_.string());
    }
    std::string_view rest = ours ? std::string_view(content).substr(head_.size()) : std::string_view{};
    bool any = false;
    BatchHead head{};
    while (rest.size() >= sizeof head) {
        std::memcpy(&head, rest.data(), sizeof head);
        std::string_view batch = rest.substr(sizeof head, head.size);
        if (batch.size() != head.size || checksum_of(batch) != head.checksum) {
            break;
        }
        rest.remove_prefix(sizeof head + head.size);
        while (!batch.empty()) {
            const auto record = tree::decode(batch);
            if (!record) {
                throw std::runtime_error("a batch with a good checksum holds no records: written by another version?");
            }
            restore(*record);
        }
        any = true;
    }
    if (!rest.empty()) {
        spdlog::info("journal {}: the last {} bytes were being written when the daemon ended", folder_.string(),
                     rest.size());
    }
    return any;
}

bool Journal::write_batch(int file, const std::vector<tree::Record>& batch, std::size_t& size) {
    std::string bytes(sizeof(BatchHead), '\0');
    for (const auto& record : batch) {
        tree::encode(record, bytes);
    }
    const auto payload = std::string_view(bytes).substr(sizeof(BatchHead));
    const BatchHead head{static_cast<std::uint32_t>(payload.size()), checksum_of(payload)};
    std::memcpy(bytes.data(), &head, sizeof head);
    if (write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
        return false;
    }
    size += bytes.size();
    return true;
}

bool Journal::append(const std::vector<tree::Record>& batch) {
    if (file_ < 0 || failed_) {
        return false;
    }
    if (write_batch(file_, batch, size_)) {
        return true;
    }
    spdlog::critical("journal {}: cannot write ({}): a restart would lose state; free some space", folder_.string(),
                     std::strerror(errno));
    failed_ = true;
    return false;
}

bool Journal::rewrite(const std::vector<tree::Record>& state) {
    const auto path = folder_ / "journal.new";
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    std::size_t size = head_.size();
    const bool written = file >= 0 && write(file, head_.data(), head_.size()) == static_cast<ssize_t>(head_.size()) &&
                         write_batch(file, state, size);
    if (file >= 0) {
        close(file);
    }
    std::error_code error;
    if (written) {
        std::filesystem::rename(path, folder_ / "journal", error);
    }
    if (!written || error) {
        std::filesystem::remove(path, error);
        return false;
    }
    if (file_ >= 0) {
        close(file_);
    }
    open_file();
    size_ = compact_size_ = size;
    failed_ = false;
    return true;
}

bool Journal::wants_rewrite() const {
    return failed_ || size_ > std::max(least_rewrite, 4 * compact_size_);
}

} // namespace domus::xenstore::server
