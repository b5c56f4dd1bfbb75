#include "routing/template/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::chat_template {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\v\f";
constexpr std::array<std::string_view, 6> kLongOperators = {"==", "!=", "<=", ">=", "//", "**"};
constexpr std::string_view kOperators = "+-*/%~<>=.,:|()[]{}";

bool is_space(char c) {
  return kSpaces.find(c) != std::string_view::npos;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string with_line_feeds(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t at = 0; at < source.size(); ++at) {
    if (source[at] != '\r') {
      out += source[at];
      continue;
    }
    out += '\n';
    if (at + 1 < source.size() && source[at + 1] == '\n') ++at;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_line_feeds(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) {
      if (auto ok = text_then_tag(); !ok) return fail(ok.error());
    }
    push(Token::Kind::End, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }

  void push(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(size_t count) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                              source_.begin() + static_cast<ptrdiff_t>(at_ + count), '\n'));
    at_ += count;
  }

  std::unexpected<Error> bad(std::string what) const {
    return fail(Reason::TemplateInvalid, fmt::format("chat template, line {}: {}", line_, what));
  }

  // Where the next tag of any kind opens; the length of the text when none does.
  size_t next_tag() const {
    size_t found = source_.find('{', at_);
    for (; found != std::string::npos && found + 1 < source_.size(); found = source_.find('{', found + 1)) {
      const char next = source_[found + 1];
      if (next == '{' || next == '%' || next == '#') return found;
    }
    return source_.size();
  }

  Status text_then_tag() {
    const size_t tag = next_tag();
    std::string text = source_.substr(at_, tag - at_);
    if (tag == source_.size()) {
      emit(std::move(text));
      advance(tag - at_);
      return {};
    }
    const char kind = source_[tag + 1], sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    if (sign == '-') {
      text.erase(std::find_if_not(text.rbegin(), text.rend(), is_space).base(), text.end());
    } else if (sign != '+' && kind != '{') {
      strip_indent(text);
    }
    emit(std::move(text));
    advance(tag - at_ + 2 + (sign == '-' || sign == '+' ? 1 : 0));
    if (kind == '#') return comment();
    if (kind == '%' && is_raw()) return raw();
    push(kind == '{' ? Token::Kind::OpenExpression : Token::Kind::OpenTag, "");
    return inside(kind == '{' ? "}}" : "%}");
  }

  void emit(std::string text) {
    if (!text.empty()) push(Token::Kind::Text, std::move(text));
  }

  // lstrip_blocks: what stands before a tag on its line goes if it is white space only.
  void strip_indent(std::string& text) const {
    const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
    if (line == 0 && !line_starts_) return;
    if (std::all_of(text.begin() + static_cast<ptrdiff_t>(line), text.end(), is_space)) text.resize(line);
  }

  // Behind a closing delimiter: `-` takes all white space, else a tag takes one line end (trim_blocks) unless `+`.
  void after_close(char sign, bool is_block) {
    const size_t from = at_;
    if (sign == '-') {
      size_t count = 0;
      while (at_ + count < source_.size() && is_space(source_[at_ + count])) ++count;
      advance(count);
    } else if (is_block && sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      advance(1);
    }
    line_starts_ = at_ > from && source_[at_ - 1] == '\n';
  }

  Status comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return bad("a comment has no end");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    advance(end + 2 - at_);
    after_close(sign, true);
    return {};
  }

  // Whether a tag that was just opened is `raw`, and where it closes.
  bool is_raw() const {
    size_t at = source_.find_first_not_of(kSpaces, at_);
    return at != std::string::npos && source_.compare(at, 3, "raw") == 0 && at + 3 < source_.size() &&
           !starts_name(source_[at + 3]) && !is_digit(source_[at + 3]);
  }

  Status raw() {
    const size_t open_end = source_.find("%}", at_);
    if (open_end == std::string::npos) return bad("the tag raw has no end");
    const char open_sign = source_[open_end - 1];
    advance(open_end + 2 - at_);
    after_close(open_sign, false);  // Jinja does not trim here
    for (size_t close = at_; (close = source_.find("{%", close)) != std::string::npos; close += 2) {
      size_t at = close + 2;
      const char sign = at < source_.size() ? source_[at] : ' ';
      if (sign == '-' || sign == '+') ++at;
      at = std::min(source_.find_first_not_of(kSpaces, at), source_.size());
      if (source_.compare(at, 6, "endraw") != 0) continue;
      const size_t end = source_.find("%}", at);
      if (end == std::string::npos) break;
      std::string text = source_.substr(at_, close - at_);
      if (sign == '-') {
        text.erase(std::find_if_not(text.rbegin(), text.rend(), is_space).base(), text.end());
      } else if (sign != '+') {
        strip_indent(text);
      }
      emit(std::move(text));
      const char end_sign = source_[end - 1];
      advance(end + 2 - at_);
      after_close(end_sign, true);
      return {};
    }
    return bad("the tag raw is not closed by endraw");
  }

  // Tokens up to the closing delimiter, which only counts outside of brackets.
  Status inside(std::string_view close) {
    const bool is_block = close == "%}";
    std::string brackets;
    for (;;) {
      const size_t skip = std::min(rest().find_first_not_of(kSpaces), rest().size());
      advance(skip);
      if (at_ >= source_.size()) return bad(fmt::format("a tag is not closed by {}", close));
      const char c = source_[at_];
      const bool sign = (c == '-' || (c == '+' && is_block)) && rest().substr(1).starts_with(close);
      if (brackets.empty() && (sign || rest().starts_with(close))) {
        push(is_block ? Token::Kind::CloseTag : Token::Kind::CloseExpression, "");
        advance(close.size() + (sign ? 1 : 0));
        after_close(sign ? c : ' ', is_block);
        return {};
      }
      if (auto ok = token(c, brackets); !ok) return ok;
    }
  }

  Status token(char c, std::string& brackets) {
    if (starts_name(c)) {
      size_t length = 1;
      while (length < rest().size() && (starts_name(rest()[length]) || is_digit(rest()[length]))) ++length;
      push(Token::Kind::Name, std::string(rest().substr(0, length)));
      advance(length);
      return {};
    }
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    for (const std::string_view two : kLongOperators) {
      if (!rest().starts_with(two)) continue;
      push(Token::Kind::Operator, std::string(two));
      advance(2);
      return {};
    }
    if (kOperators.find(c) == std::string_view::npos) {
      return bad(
          fmt::format("the character {:?} has no meaning in a tag", std::string_view(&source_[at_], 1)));
    }
    if (c == '(' || c == '[' || c == '{') brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) return bad(fmt::format("'{}' closes nothing", c));
      brackets.pop_back();
    }
    push(Token::Kind::Operator, std::string(1, c));
    advance(1);
    return {};
  }

  Status number() {
    size_t length = 0;
    const std::string_view text = rest();
    const auto digits = [&] {
      while (length < text.size() && (is_digit(text[length]) || text[length] == '_')) ++length;
    };
    digits();
    bool is_float = false;
    if (length + 1 < text.size() && text[length] == '.' && is_digit(text[length + 1])) {
      is_float = true;
      ++length;
      digits();
    }
    const size_t exponent = length;
    if (length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
      ++length;
      if (length < text.size() && (text[length] == '+' || text[length] == '-')) ++length;
      if (length < text.size() && is_digit(text[length])) {
        is_float = true;
        digits();
      } else {
        length = exponent;
      }
    }
    std::string spelled(text.substr(0, length));
    std::erase(spelled, '_');
    push(is_float ? Token::Kind::Float : Token::Kind::Integer, std::move(spelled));
    advance(length);
    return {};
  }

  // Python's escapes of a string literal.
  Status string(char quote) {
    std::string value;
    size_t at = at_ + 1;
    for (;; ++at) {
      if (at >= source_.size()) return bad("a string has no end");
      const char c = source_[at];
      if (c == quote) break;
      if (c != '\\') {
        value += c;
        continue;
      }
      if (++at >= source_.size()) return bad("a string has no end");
      if (auto ok = escape(at, value); !ok) return ok;
    }
    push(Token::Kind::String, std::move(value));
    advance(at + 1 - at_);
    return {};
  }

  // `at` is behind the backslash, and at the escape's last character afterwards.
  Status escape(size_t& at, std::string& value) {
    constexpr std::string_view kFrom = "ntrabfv\\'\"", kTo = "\n\t\r\a\b\f\v\\'\"";
    const char c = source_[at];
    if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
      value += kTo[known];
    } else if (c == '\n') {
      // a line that goes on
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t point = 0;
      for (size_t count = 0; count < digits; ++count) {
        const char digit = ++at < source_.size() ? source_[at] : ' ';
        const size_t value_of = std::string_view("0123456789abcdefABCDEF").find(digit);
        if (value_of == std::string_view::npos) return bad("a string has a cut escape");
        point = point << 4 | static_cast<uint32_t>(value_of < 16 ? value_of : value_of - 6);
      }
      if (point >= tokenizer::kCodePoints || (point >= 0xD800 && point < 0xE000)) {
        return fail(Reason::TemplateUnsupported,
                    fmt::format("chat template, line {}: U+{:04X} in a string", line_, point));
      }
      tokenizer::append_utf8(point, value);
    } else if (is_digit(c) || c == 'N') {
      return fail(Reason::TemplateUnsupported,
                  fmt::format("chat template, line {}: the escape \\{} in a string", line_, c));
    } else {
      value += '\\';
      value += c;
    }
    return {};
  }

  std::string source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_starts_ = true;  // the text from here begins a line
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize_template(std::string_view source) {
  if (source.size() > kMostTemplateBytes) {
    return fail(Reason::LimitExceeded,
                fmt::format("the chat template is larger than {} MiB", kMostTemplateBytes >> 20));
  }
  if (!tokenizer::is_utf8(source)) return fail(Reason::TemplateInvalid, "the chat template is not UTF-8");
  return Lexer(source).run();
}

}  // namespace tweendeck::routing::chat_template
