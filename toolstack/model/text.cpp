// Text helpers and errors of the configuration parser. Owner: model/. No lock. Pure: no I/O.
#include "toolstack/model/text.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

namespace domus::model {

namespace {

std::string with_advice(std::string_view wrong, std::string_view advice) {
    return advice.empty() ? std::string(wrong) : fmt::format("{}; {}", wrong, advice);
}

unsigned digit_of(char c) {
    if (c >= '0' && c <= '9')
        return unsigned(c - '0');
    if (c >= 'a' && c <= 'f')
        return unsigned(c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return unsigned(c - 'A') + 10;
    return 99;
}

std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
        }
    }
    return row[b.size()];
}

} // namespace

ConfigError::ConfigError(std::string_view file, Position at, std::string_view wrong, std::string_view advice)
    : std::runtime_error(fmt::format("{}:{}:{}: {}", file, at.line, at.column, with_advice(wrong, advice))), at_(at) {}

ValueError::ValueError(std::size_t offset, const std::string& wrong, const std::string& advice)
    : std::runtime_error(with_advice(wrong, advice)), offset_(offset), wrong_(wrong), advice_(advice) {}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
        text.remove_suffix(1);
    return text;
}

std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned first = byte(0), second = byte(1);
    if (first < 0x80)
        return text.empty() ? 0 : 1;
    const std::size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80)
            return 0;
    // Over-long forms, surrogates, and what lies beyond Unicode's end.
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f))
        return 0;
    return length;
}

std::string in_quotes(std::string_view text) {
    constexpr std::size_t most = 60;
    std::string out = "\"";
    for (char c : text.substr(0, most)) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            out += c;
    }
    return out + (text.size() > most ? "...\"" : "\"");
}

unsigned long long parse_number(std::string_view text, std::string_view what) {
    std::string_view digits = text;
    unsigned base = 10;
    if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) {
        base = 16;
        digits.remove_prefix(2);
    } else if (digits.size() > 1 && digits[0] == '0') {
        base = 8;
        digits.remove_prefix(1);
    }
    unsigned long long value = 0;
    for (char c : digits) {
        const unsigned digit = digit_of(c);
        if (digit >= base)
            throw ValueError(0, fmt::format("{} is {}, not a number", what, in_quotes(text)),
                             "write a whole number (decimal, 0x hexadecimal or 0 octal)");
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
            throw ValueError(0, fmt::format("{} is too large a number: {}", what, in_quotes(text)));
    }
    if (digits.empty())
        throw ValueError(0, fmt::format("{} has no value", what), "write a whole number");
    return value;
}

std::string nearest(std::string_view word, const std::vector<std::string_view>& known) {
    std::string_view best;
    std::size_t best_distance = 3; // farther than two edits is a guess, not a help
    if (word.size() > 40)
        return {};
    for (auto candidate : known) {
        const auto d = distance(word, candidate);
        if (d < best_distance) {
            best_distance = d;
            best = candidate;
        }
    }
    return std::string(best);
}

std::string backend_domain(std::string_view value) {
    if (value == "0" || value == "Domain-0")
        return {};
    for (unsigned char c : value)
        if (c <= 0x20 || c == 0x7f || c == '/')
            throw ValueError(0, fmt::format("backend {} is no name of a guest", in_quotes(value)));
    if (value.empty())
        throw ValueError(0, "backend names no guest", "name the one whose backend is meant, or leave backend= out");
    return std::string(value);
}

} // namespace domus::model
