// The simulated tokenizer and language model: 4 bytes of text are one token, and an answer is a function of
// its prompt.
//
// A token's id is its bytes, so tokenizing is exact and needs no vocabulary. Messages are tokenized one by
// one, each from its first byte, and generated tokens are always 4 bytes: a follow-up turn therefore begins
// with exactly the tokens of the turn before, as with a real chat template. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::sim {

using Token = uint32_t;
inline constexpr size_t kTokenBytes = 4;

// Special tokens: their bytes never occur in UTF-8.
enum class Special : uint8_t { Begin = 1, System, User, Assistant, Tool, EndOfMessage };
Token special(Special kind);

// The last token of a text may hold fewer than 4 bytes.
void append_text(std::vector<Token>& tokens, std::string_view text);
size_t count_tokens(std::string_view text);

uint64_t mix(uint64_t a, uint64_t b);  // a good 64-bit hash of two numbers
uint64_t hash_tokens(const std::vector<Token>& tokens);

// The i-th token of the answer to a prompt with this hash: 4 ASCII bytes.
Token answer_token(uint64_t prompt_hash, uint64_t index);
std::string token_text(Token token);
std::string answer_text(uint64_t prompt_hash, uint64_t first, uint64_t count);

// After how many tokens the answer ends by itself, when nothing limits it.
inline constexpr uint32_t kMinAnswerTokens = 32;
inline constexpr uint32_t kMaxAnswerTokens = 256;
uint32_t natural_length(uint64_t prompt_hash);

// A unit vector: the sum of one pseudo-random direction per token, so that texts that share tokens are near.
std::vector<float> embed(const Token* tokens, size_t count, uint32_t dimensions);

}  // namespace tweendeck::sim
