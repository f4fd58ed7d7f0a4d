// Parser of xl's configuration syntax: text to settings. Owner: config.cpp. No lock. Pure.
#include "toolstack/model/syntax.hpp"

#include "toolstack/model/lexer.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace domus::model {

namespace {

constexpr unsigned deepest_list = 8; // nobody nests further; hostile input must not exhaust the stack

class Parser {
public:
    Parser(const std::string& file, std::string_view text) : lexer_(file, text) { take(); }

    std::vector<Setting> settings() {
        while (now_.kind != TokenKind::End) {
            if (now_.kind == TokenKind::Newline || now_.kind == TokenKind::Semicolon)
                take();
            else
                setting();
        }
        return std::move(settings_);
    }

private:
    void take() { now_ = lexer_.next(); }

    [[noreturn]] void fail(const std::string& wrong, const std::string& advice) {
        throw ConfigError(lexer_.file(), now_.at, wrong, advice);
    }

    void setting() {
        if (now_.kind != TokenKind::Word)
            fail(fmt::format("expected the name of a setting, found {}", describe(now_)), "a line reads NAME = VALUE");
        Setting setting{.key = now_.text, .value = {}, .at = now_.at, .file = lexer_.file(), .replaced = {}};
        take();
        setting.append = now_.kind == TokenKind::PlusEquals;
        if (!setting.append && now_.kind != TokenKind::Equals)
            fail(fmt::format("expected '=' after {}, found {}", in_quotes(setting.key), describe(now_)),
                 "a line reads NAME = VALUE");
        take();
        setting.value = value(0);
        if (now_.kind != TokenKind::Newline && now_.kind != TokenKind::Semicolon && now_.kind != TokenKind::End)
            fail(fmt::format("unexpected {} after the value of {}", describe(now_), in_quotes(setting.key)),
                 "put text with blanks in quotes, or start a new line");
        store(std::move(setting));
    }

    void store(Setting setting) {
        auto old = std::find_if(settings_.begin(), settings_.end(), [&](auto& s) { return s.key == setting.key; });
        if (old == settings_.end()) {
            settings_.push_back(std::move(setting));
        } else if (!setting.append) {
            setting.replaced = old->at;
            *old = std::move(setting);
        } else if (old->value.kind != setting.value.kind || setting.value.kind == Value::Kind::Number) {
            throw ConfigError(lexer_.file(), setting.at,
                              fmt::format("'+=' cannot add this value to {}", in_quotes(setting.key)),
                              "add text to text or a list to a list");
        } else {
            old->value.text += setting.value.text;
            std::move(setting.value.items.begin(), setting.value.items.end(), std::back_inserter(old->value.items));
        }
    }

    Value value(unsigned depth) {
        Value out;
        out.at = now_.at;
        switch (now_.kind) {
        case TokenKind::String:
            out.text = now_.text;
            break;
        case TokenKind::Number:
            out.kind = Value::Kind::Number;
            out.text = now_.text;
            break;
        case TokenKind::Open:
            return list(depth);
        case TokenKind::Word:
            refuse_word();
        default:
            fail(fmt::format("expected a value, found {}", describe(now_)),
                 "write a \"string\", a number or a [ list ]");
        }
        take();
        return out;
    }

    [[noreturn]] void refuse_word() {
        const auto& word = now_.text;
        const std::size_t sign = word[0] == '-' ? 1 : 0;
        if (word.size() > sign && word[sign] >= '0' && word[sign] <= '9')
            fail(fmt::format("{} is not a number", in_quotes(word)),
                 "write a whole number without sign or unit, or text in quotes");
        fail(fmt::format("{} is not a value", in_quotes(word)), fmt::format("put it in quotes: {}", in_quotes(word)));
    }

    void skip_newlines() {
        while (now_.kind == TokenKind::Newline)
            take();
    }

    Value list(unsigned depth) {
        if (depth >= deepest_list)
            fail("lists are nested too deep", fmt::format("at most {} levels", deepest_list));
        Value out;
        out.kind = Value::Kind::List;
        out.at = now_.at;
        take();
        for (skip_newlines(); now_.kind != TokenKind::Close; skip_newlines()) {
            out.items.push_back(value(depth + 1));
            skip_newlines();
            if (now_.kind == TokenKind::Comma)
                take();
            else if (now_.kind != TokenKind::Close)
                fail(fmt::format("expected ',' or ']' in the list opened at line {}, found {}", out.at.line,
                                 describe(now_)),
                     "separate items by commas and close the list by ']'");
        }
        take();
        return out;
    }

    Lexer lexer_;
    Token now_;
    std::vector<Setting> settings_;
};

void require_utf8(const std::string& file, std::string_view text) {
    Position at;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0)
            throw ConfigError(file, at, "a byte that is not UTF-8 text", "save the file as UTF-8");
        at = text[0] == '\n' ? Position{at.line + 1, 1} : Position{at.line, at.column + unsigned(length)};
        text.remove_prefix(length);
    }
}

} // namespace

std::vector<Setting> parse_settings(const std::string& file, std::string_view text) {
    require_utf8(file, text);
    return Parser(file, text).settings();
}

} // namespace domus::model
