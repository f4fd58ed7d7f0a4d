// Lexer of xl's configuration syntax. Owner: the parser. No lock. Pure: works on one text in memory.
#include "toolstack/model/lexer.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace domus::model {

namespace {

bool is_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

} // namespace

void Lexer::advance() {
    if (rest_.front() == '\n') {
        ++here_.line;
        here_.column = 1;
    } else {
        ++here_.column;
    }
    rest_.remove_prefix(1);
}

void Lexer::skip_blanks_and_comments() {
    while (!rest_.empty()) {
        const char c = peek();
        if (c == '#') {
            while (!rest_.empty() && peek() != '\n')
                advance();
        } else if (c == ' ' || c == '\t' || c == '\r') {
            advance();
        } else if (c == '\\' && peek(1) == '\n') { // a line that goes on
            advance();
            advance();
        } else {
            return;
        }
    }
}

Token Lexer::next() {
    skip_blanks_and_comments();
    Token token{TokenKind::End, {}, here_};
    if (rest_.empty())
        return token;
    const char c = peek();
    switch (c) {
    case '\n':
        token.kind = TokenKind::Newline;
        break;
    case ';':
        token.kind = TokenKind::Semicolon;
        break;
    case '=':
        token.kind = TokenKind::Equals;
        break;
    case ',':
        token.kind = TokenKind::Comma;
        break;
    case '[':
        token.kind = TokenKind::Open;
        break;
    case ']':
        token.kind = TokenKind::Close;
        break;
    case '"':
    case '\'':
        return string_token(token);
    case '+':
        if (peek(1) != '=')
            throw ConfigError(file_, here_, "a lone '+'", "'+=' adds to a value set before");
        token.kind = TokenKind::PlusEquals;
        advance();
        break;
    default:
        return bare_token(token);
    }
    advance();
    return token;
}

Token Lexer::string_token(Token token) {
    const char quote = peek();
    token.kind = TokenKind::String;
    advance();
    while (peek() != quote) {
        if (rest_.empty() || peek() == '\n')
            throw ConfigError(file_, token.at, fmt::format("this string is not closed before the end of its line"),
                              fmt::format("add the closing {}", quote));
        if (peek() == '\0')
            throw ConfigError(file_, here_, "a zero byte in a string", "is this a text file?");
        if (peek() == '\\') {
            append_escape(token.text);
            continue;
        }
        token.text += peek();
        advance();
    }
    advance();
    return token;
}

void Lexer::append_escape(std::string& out) {
    const Position at = here_;
    advance(); // the backslash
    const char c = peek();
    static constexpr std::string_view from = "abfnrtv\\\"'", to = "\a\b\f\n\r\t\v\\\"'";
    const auto found = rest_.empty() ? std::string_view::npos : from.find(c);
    if (found == std::string_view::npos)
        throw ConfigError(file_, at, "an unknown escape after '\\' in a string", "for a backslash write \\\\");
    out += to[found];
    advance();
}

Token Lexer::bare_token(Token token) {
    while (!rest_.empty() && is_word_byte(peek())) {
        token.text += peek();
        advance();
    }
    if (token.text.empty())
        throw ConfigError(file_, here_,
                          fmt::format("{} does not belong here", in_quotes(rest_.substr(0, utf8_length(rest_)))),
                          "a line reads NAME = VALUE; text values stand in quotes");
    const bool hex = token.text.starts_with("0x") || token.text.starts_with("0X");
    token.kind =
        hex || std::all_of(token.text.begin(), token.text.end(), is_digit) ? TokenKind::Number : TokenKind::Word;
    return token;
}

std::string describe(const Token& token) {
    switch (token.kind) {
    case TokenKind::End:
        return "the end of the file";
    case TokenKind::Newline:
        return "the end of the line";
    case TokenKind::Semicolon:
        return "';'";
    case TokenKind::Word:
        return "the word " + in_quotes(token.text);
    case TokenKind::Number:
        return "the number " + in_quotes(token.text);
    case TokenKind::String:
        return "the string " + in_quotes(token.text);
    case TokenKind::Equals:
        return "'='";
    case TokenKind::PlusEquals:
        return "'+='";
    case TokenKind::Comma:
        return "','";
    case TokenKind::Open:
        return "'['";
    case TokenKind::Close:
        return "']'";
    }
    return "this";
}

} // namespace domus::model
