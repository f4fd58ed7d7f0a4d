// The one exception of this library: which operation on which domain failed, why, and what to do about it.
// Thrown by everything in hypervisor/client; caught where a message reaches a person. No lock, no state.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace domus::client {

/// A refused or impossible operation on the hypervisor. what() reads
/// "OPERATION[ for domain N]: MEANING (ERRNO NAME)[; ADVICE]".
class Error : public std::runtime_error {
public:
    /// @param operation     the operation in the interface's own words ("domctl createdomain")
    /// @param domid         the domain it was for, if any
    /// @param error_number  positive errno value (Xen's and Linux's agree for all that are used here)
    /// @param advice        what the reader can do; empty: a general advice for this errno is taken
    Error(std::string operation, std::optional<std::uint16_t> domid, int error_number, std::string advice = {});

    const std::string& operation() const noexcept { return operation_; }
    std::optional<std::uint16_t> domain() const noexcept { return domid_; }
    /// Positive errno value.
    int code() const noexcept { return error_number_; }

private:
    std::string operation_;
    std::optional<std::uint16_t> domid_;
    int error_number_;
};

} // namespace domus::client
