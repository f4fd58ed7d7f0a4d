// The file that makes a crash invisible: batches of records, each written by one write(2) with length and checksum.
// It lies in a tmpfs, so that a killed process loses nothing that it had written; it is not meant to outlive the
// machine (the boot id in its head tells). Owner: the daemon. Lock: none; two daemons are kept apart by the pid file.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "xenstore-lite/tree/record.hpp"

namespace domus::xenstore::server {

class Journal {
public:
    /// Creates the folder (mode 0700) where it is missing. Throws std::system_error naming it.
    explicit Journal(std::filesystem::path folder);
    ~Journal();
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    /// Hands over every record of whole batches. A torn last batch (killed while writing) is cut off: nothing of it
    /// had become visible to anybody. A journal of an earlier boot is ignored. False if there was nothing to load.
    bool load(const std::function<void(const tree::Record&)>& restore);

    /// One batch: after a crash all of it is there or none. False if it could not be written (the file system is
    /// full): the caller goes on and tries rewrite().
    bool append(const std::vector<tree::Record>& batch);

    /// Replaces the file by one that holds only these records, atomically. False as for append().
    bool rewrite(const std::vector<tree::Record>& state);

    /// True when the file has grown to several times what the state needs, or an append failed.
    bool wants_rewrite() const;

private:
    bool write_batch(int file, const std::vector<tree::Record>& batch, std::size_t& size);
    void open_file();

    std::filesystem::path folder_;
    std::string head_;
    int file_ = -1;
    std::size_t size_ = 0;
    std::size_t compact_size_ = 0;
    bool failed_ = false;
};

} // namespace domus::xenstore::server
