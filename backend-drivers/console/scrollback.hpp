// The last bytes of a console, replayed to a terminal that attaches later. Header-only, pure. Owner: Guest.
#pragma once

#include <string>
#include <string_view>

namespace domus::console {

class Scrollback {
public:
    explicit Scrollback(std::size_t capacity) : capacity_(capacity) {}

    void add(std::string_view bytes) {
        text_.append(bytes);
        if (text_.size() > 2 * capacity_) { // trimmed seldom, so that adding costs no more than the copy
            text_.erase(0, text_.size() - capacity_);
        }
    }

    /// At most `capacity` bytes, beginning with a whole line where one of the kept bytes ends a line.
    std::string recent() const {
        if (text_.size() <= capacity_) {
            return text_;
        }
        std::string tail = text_.substr(text_.size() - capacity_);
        const auto line_end = tail.find('\n');
        return line_end == std::string::npos ? tail : tail.substr(line_end + 1);
    }

private:
    std::size_t capacity_;
    std::string text_;
};

} // namespace domus::console
