// Where a thing stands in a configuration file, and the error that says so.
// Owner: the parser. No lock (single thread). Called by every file of model/. Must not touch the file system.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace domus::model {

/// A place in a text: 1-based line and column (column counts bytes).
struct Position {
    unsigned line = 1;
    unsigned column = 1;
};

/// What is wrong, where, and what to do about it. what() is "FILE:LINE:COLUMN: WRONG; ADVICE".
class ConfigError : public std::runtime_error {
public:
    ConfigError(std::string_view file, Position at, std::string_view wrong, std::string_view advice = {});

    Position at() const { return at_; }

private:
    Position at_;
};

/// A complaint about one value, thrown by the small parsers (disk, vif, mac) that do not know the file.
/// `offset` is the number of bytes into the value where the trouble starts.
class ValueError : public std::runtime_error {
public:
    ValueError(std::size_t offset, const std::string& wrong, const std::string& advice = {});

    std::size_t offset() const { return offset_; }
    const std::string& wrong() const { return wrong_; }
    const std::string& advice() const { return advice_; }

private:
    std::size_t offset_;
    std::string wrong_;
    std::string advice_;
};

/// `text` without leading and trailing blanks and tabs.
std::string_view trim(std::string_view text);

/// Bytes of the UTF-8 character that `text` begins with; 0 when it begins with none.
std::size_t utf8_length(std::string_view text);

/// Quotes `text` for a message: control bytes shown as \xNN, long text cut with "...".
std::string in_quotes(std::string_view text);

/// A whole-string unsigned number (decimal, 0x.., 0..). Throws ValueError(0, ...) naming `what` when it is none.
unsigned long long parse_number(std::string_view text, std::string_view what);

/// The word of `known` nearest to `word` by edit distance, empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string_view>& known);

/// A `backend=` as it is kept: "" for dom0, otherwise a guest's name or number. Throws ValueError.
std::string backend_domain(std::string_view value);

} // namespace domus::model
