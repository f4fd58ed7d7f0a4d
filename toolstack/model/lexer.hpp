// Tokens of xl's configuration syntax (xl.cfg(5), section SYNTAX).
// Owner: Parser in syntax.cpp. No lock. Must not read past the text it was given.
#pragma once

#include "toolstack/model/text.hpp"

#include <string>
#include <string_view>

namespace domus::model {

enum class TokenKind { End, Newline, Semicolon, Word, Number, String, Equals, PlusEquals, Comma, Open, Close };

struct Token {
    TokenKind kind = TokenKind::End;
    std::string text; // of Word, Number: as written; of String: with quotes and escapes resolved
    Position at;
};

/// Cuts a configuration text into tokens. Comments run from # to the end of the line.
class Lexer {
public:
    Lexer(std::string file, std::string_view text) : file_(std::move(file)), rest_(text) {}

    /// The next token; TokenKind::End for ever once the text is used up. Throws ConfigError on a byte or string
    /// that belongs to no token.
    Token next();

    const std::string& file() const { return file_; }

private:
    char peek(std::size_t ahead = 0) const { return ahead < rest_.size() ? rest_[ahead] : '\0'; }
    void advance();
    void skip_blanks_and_comments();
    Token string_token(Token token);
    Token bare_token(Token token);
    void append_escape(std::string& out);

    std::string file_;
    std::string_view rest_;
    Position here_;
};

/// The word for a token in an error message ("a string", "end of file").
std::string describe(const Token& token);

} // namespace domus::model
