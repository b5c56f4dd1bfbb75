#include "engine/sim/tokens.h"

#include <cmath>
#include <cstring>

namespace tweendeck::sim {
namespace {

constexpr std::string_view kConsonants = "bdfgklmnprstvz";
constexpr std::string_view kVowels = "aeiou";

}  // namespace

Token special(Special kind) {
  return 0xFFFFFF00u | static_cast<uint8_t>(kind);
}

void append_text(std::vector<Token>& tokens, std::string_view text) {
  tokens.reserve(tokens.size() + count_tokens(text));
  for (size_t at = 0; at < text.size(); at += kTokenBytes) {
    Token token = 0;
    memcpy(&token, text.data() + at, std::min(kTokenBytes, text.size() - at));
    tokens.push_back(token);
  }
}

size_t count_tokens(std::string_view text) {
  return (text.size() + kTokenBytes - 1) / kTokenBytes;
}

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15ull + b + 0x632BE59BD9B4E019ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

uint64_t hash_tokens(const std::vector<Token>& tokens) {
  uint64_t hash = tokens.size();
  for (Token token : tokens) hash = mix(hash, token);
  return hash;
}

Token answer_token(uint64_t prompt_hash, uint64_t index) {
  const uint64_t random = mix(prompt_hash, index);
  const char bytes[kTokenBytes] = {kConsonants[random % kConsonants.size()],
                                   kVowels[(random >> 16) % kVowels.size()],
                                   kConsonants[(random >> 32) % kConsonants.size()], ' '};
  Token token = 0;
  memcpy(&token, bytes, kTokenBytes);
  return token;
}

std::string token_text(Token token) {
  char bytes[kTokenBytes];
  memcpy(bytes, &token, kTokenBytes);
  return {bytes, kTokenBytes};
}

std::string answer_text(uint64_t prompt_hash, uint64_t first, uint64_t count) {
  std::string text;
  text.reserve(count * kTokenBytes);
  for (uint64_t i = first; i < first + count; ++i) text += token_text(answer_token(prompt_hash, i));
  return text;
}

uint32_t natural_length(uint64_t prompt_hash) {
  return kMinAnswerTokens +
         static_cast<uint32_t>(mix(prompt_hash, ~0ull) % (kMaxAnswerTokens - kMinAnswerTokens + 1));
}

std::vector<float> embed(const Token* tokens, size_t count, uint32_t dimensions) {
  std::vector<float> vector(dimensions, 0.0f);
  for (size_t i = 0; i < count; ++i) {
    for (uint32_t d = 0; d < dimensions; ++d) {
      vector[d] += static_cast<float>(static_cast<int64_t>(mix(tokens[i], d)) * 0x1p-63);
    }
  }
  double square = 0;
  for (float v : vector) square += double{v} * v;
  const float scale = square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0.0f;
  for (float& v : vector) v *= scale;
  return vector;
}

}  // namespace tweendeck::sim
