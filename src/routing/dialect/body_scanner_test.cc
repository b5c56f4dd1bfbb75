#include "routing/dialect/body_scanner.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace tweendeck::routing::dialect {
namespace {

struct Scan {
  bool ok = false;
  Reason reason = Reason::None;
  std::string model;
  std::string model_text, prompt_text;
  uint64_t max_tokens = 0;
  bool operator==(const Scan&) const = default;
};

Scan scan(std::string_view text, const std::vector<size_t>& cuts = {}) {
  BodyScanner scanner;
  size_t begin = 0;
  bool ok = true;
  for (size_t i = 0; i <= cuts.size() && ok; ++i) {
    size_t end = i < cuts.size() ? cuts[i] : text.size();
    ok = scanner.update(text.substr(begin, end - begin));
    begin = end;
  }
  ok = ok && scanner.finish();
  Scan out;
  out.ok = ok;
  out.reason = scanner.error().reason;
  if (!ok) return out;
  auto cut = [&](BodyScanner::Range r) { return std::string(text.substr(r.begin, r.end - r.begin)); };
  out.reason = Reason::None;
  out.model = scanner.model();
  out.model_text = cut(scanner.model_range());
  out.prompt_text = cut(scanner.prompt_range());
  out.max_tokens = scanner.max_output_tokens();
  return out;
}

TEST(BodyScanner, FindsModelPromptAndLimit) {
  Scan got =
      scan(R"( {"stream":true,"model" : "chat","messages":[{"role":"user","content":"a\"]}","model":"x"}],
                      "temperature":-0.5e+3, "max_tokens":17,"n":null} )");
  ASSERT_TRUE(got.ok);
  EXPECT_EQ(got.model, "chat");
  EXPECT_EQ(got.model_text, "\"chat\"");
  EXPECT_EQ(got.prompt_text, R"([{"role":"user","content":"a\"]}","model":"x"}])");
  EXPECT_EQ(got.max_tokens, 17U);
  EXPECT_EQ(scan(R"({"prompt":"hi","model":"m"})").prompt_text, "\"hi\"");
  EXPECT_EQ(scan(R"({"input":["a","b"],"model":"m"})").prompt_text, R"(["a","b"])");
  EXPECT_EQ(scan(R"({"max_completion_tokens":5})").max_tokens, 5U);
  EXPECT_EQ(scan(R"({"max_tokens":1.5})").max_tokens, 0U);
}

TEST(BodyScanner, DecodesTheModelsName) {
  EXPECT_EQ(scan(R"({"model":"a\/b\u00e9\n\ud83d\ude00"})").model, "a/b\u00e9\n\U0001F600");
  EXPECT_EQ(scan(R"({"\u006dodel":"m"})").model, "m");
  EXPECT_FALSE(scan(R"({"model":")" + std::string(257, 'x') + "\"}").ok);
}

TEST(BodyScanner, ASecondModelIsRefusedHoweverItIsSpelled) {
  EXPECT_EQ(scan(R"({"model":"a","model":"a"})").reason, Reason::DuplicateModelKey);
  EXPECT_EQ(scan(R"({"model":"a","mod\u0065l":"b"})").reason, Reason::DuplicateModelKey);
  EXPECT_TRUE(scan(R"({"model":"a","models":"b","x":{"model":"c"},"y":[{"model":"d"}]})").ok);
}

TEST(BodyScanner, RefusesMalformedJson) {
  for (const char* bad : {"",
                          " ",
                          "[]",
                          "\"a\"",
                          "1",
                          "{",
                          "{\"a\"}",
                          "{\"a\":}",
                          "{\"a\":1,}",
                          "{,}",
                          "{\"a\":1}}",
                          "{\"a\":1} x",
                          "{\"a\":01}",
                          "{\"a\":1.}",
                          "{\"a\":.5}",
                          "{\"a\":1e}",
                          "{\"a\":-}",
                          "{\"a\":+1}",
                          "{\"a\":tru}",
                          "{\"a\":nulll}",
                          "{\"a\":\"\\x\"}",
                          "{\"a\":\"\\u12g4\"}",
                          "{\"a\":\"\n\"}",
                          "{\"a\":[1,]}",
                          "{\"a\":[1}",
                          "{\"a\":{]}",
                          "{a:1}",
                          "{\"a\":'b'}",
                          "{\"a\" 1}",
                          "{\"a\":1 \"b\":2}",
                          "{\"model\":5}",
                          "{\"model\":null}",
                          "{\"a\":\"b"}) {
    Scan got = scan(bad);
    EXPECT_FALSE(got.ok) << bad;
    EXPECT_EQ(got.reason, Reason::MalformedRequest) << bad;
  }
  std::string deep = "{\"a\":" + std::string(300, '[') + std::string(300, ']') + "}";
  EXPECT_FALSE(scan(deep).ok);
}

TEST(BodyScanner, SplitsDoNotMatter) {
  Random random(3);
  const std::string texts[] = {
      R"({"model":"ch\u00e9t","messages":[{"role":"user","content":"some longer text, 0123456789 \"quoted\" \\ end"}],)"
      R"("max_tokens":128,"a":[1,-2.5e-3,true,false,null,{}],"t":0})",
      R"({"model":"a","prompt":"x","mod\u0065l":"b"})", R"({"prompt":"unterminated)", R"({"a":1.e5})"};
  for (const std::string& text : texts) {
    Scan whole = scan(text);
    for (int round = 0; round < 300; ++round) {
      std::vector<size_t> cuts;
      for (size_t at = 0; (at += 1 + random.below(12)) < text.size();) cuts.push_back(at);
      EXPECT_EQ(scan(text, cuts), whole) << text;
    }
  }
}

// A slow second opinion: recursive descent over the whole text.
class Reference {
 public:
  explicit Reference(std::string_view text) : text_(text) {}
  bool valid_object() {
    space();
    if (!at('{')) return false;
    if (!value()) return false;
    space();
    return pos_ == text_.size();
  }

 private:
  bool at(char c) const { return pos_ < text_.size() && text_[pos_] == c; }
  bool eat(char c) { return at(c) ? (++pos_, true) : false; }
  void space() {
    while (at(' ') || at('\n') || at('\t') || at('\r')) ++pos_;
  }
  bool digits() {
    size_t start = pos_;
    while (pos_ < text_.size() && text_[pos_] >= '0' && text_[pos_] <= '9') ++pos_;
    return pos_ > start;
  }
  bool string() {
    if (!eat('"')) return false;
    while (pos_ < text_.size()) {
      char c = text_[pos_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') continue;
      if (pos_ == text_.size()) return false;
      char e = text_[pos_++];
      if (e == 'u') {
        for (int i = 0; i < 4; ++i) {
          if (pos_ == text_.size() ||
              std::string_view("0123456789abcdefABCDEF").find(text_[pos_++]) == std::string::npos) {
            return false;
          }
        }
      } else if (std::string_view("\"\\/bfnrt").find(e) == std::string::npos) {
        return false;
      }
    }
    return false;
  }
  bool number() {
    eat('-');
    if (!eat('0') && !digits()) return false;
    if (eat('.') && !digits()) return false;
    if (eat('e') || eat('E')) {
      if (!eat('+')) eat('-');
      return digits();
    }
    return true;
  }
  bool word(std::string_view w) {
    if (text_.substr(pos_, w.size()) != w) return false;
    pos_ += w.size();
    return true;
  }
  bool list(char end, bool keyed) {
    ++pos_;
    space();
    if (eat(end)) return true;
    while (true) {
      space();
      if (keyed && (!string() || (space(), !eat(':')))) return false;
      if (!value()) return false;
      space();
      if (eat(end)) return true;
      if (!eat(',')) return false;
    }
  }
  bool value() {
    space();
    if (at('{')) return list('}', true);
    if (at('[')) return list(']', false);
    if (at('"')) return string();
    return word("true") || word("false") || word("null") || number();
  }
  std::string_view text_;
  size_t pos_ = 0;
};

TEST(BodyScanner, AgreesWithASlowReferenceOnMutatedBodies) {
  Random random(11);
  const std::string seed =
      R"({"a":[1,-2.5e-3,true,null,{}],"b":"t\u00e9\"x","c":{"d":0,"e":[[],""]},"f":false})";
  const std::string_view bytes = "{}[]\",:0-.eE+tn \\u1a\x01";
  int valid = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = seed;
    for (uint64_t edits = 1 + random.below(3); edits > 0; --edits) {
      size_t at = random.below(text.size());
      char c = bytes[random.below(bytes.size())];
      switch (random.below(3)) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        default:
          text.erase(at, 1);
      }
    }
    bool expected = Reference(text).valid_object();
    valid += expected;
    ASSERT_EQ(scan(text).ok, expected) << text;
  }
  EXPECT_GT(valid, 100);
}

}  // namespace
}  // namespace tweendeck::routing::dialect
