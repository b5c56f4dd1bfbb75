// From text to a model's token ids, as the reference (Hugging Face `tokenizers`) has them, one for one.
//
//   auto tokenizer = load_tokenizer(json);  // the contents of tokenizer.json
//   if (!tokenizer) ...                     // TokenizerUnsupported: ids would not be exact, so there are none
//   Encoder encoder(*tokenizer);            // one per thread
//   encoder.encode("Hello", {.special = true}, ids);
//
// A Tokenizer is immutable and safe from any thread; an Encoder is one thread's. Bytes that are not UTF-8 count as
// U+FFFD, as they do in an engine that decodes with errors="replace".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "routing/tokenizer/added_tokens.h"
#include "routing/tokenizer/bpe.h"
#include "routing/tokenizer/normalize.h"
#include "routing/tokenizer/splitter.h"
#include "routing/tokenizer/word_cache.h"

namespace tweendeck::routing::tokenizer {

struct Tokenizer {
  // What is put before a text between added tokens unless it begins with it.
  enum class Prefix : uint8_t { None, Space, Mark, MarkAtStart };

  Bpe bpe;
  std::vector<AddedToken> added;
  AddedTokens raw_tokens;         // looked for in the text
  AddedTokens normalized_tokens;  // looked for after normalization
  std::vector<NormalizeStep> normalizer;
  bool mark_spaces = false;  // each space becomes U+2581
  Prefix prefix = Prefix::None;
  std::vector<SplitStage> stages;
  std::vector<uint32_t> before;  // with special tokens
  std::vector<uint32_t> after;

  uint32_t id_of(std::string_view token) const;  // of an added token, or of a token by its text; kNoId
  std::string_view text_of(uint32_t id) const;   // "" when unknown
  uint64_t size() const { return bpe.vocabulary.size(); }
};

inline constexpr size_t kMostTokenizerBytes = size_t{256} << 20;  // of tokenizer.json
inline constexpr size_t kMostTokens = size_t{4} << 20;            // and of merges

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(std::string_view json);

struct EncodeOptions {
  bool special = false;  // put the model's tokens before and after (BOS)
};

class Encoder {
 public:
  explicit Encoder(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // Appends the ids of `text`.
  void encode(std::string_view text, EncodeOptions options, std::vector<uint32_t>& ids);

  // The parts of valid UTF-8 that are encoded apart: added tokens, and text between them. What a part becomes depends
  // on nothing but its own bytes and on whether it is the text's first.
  void parts(std::string_view text, std::vector<Part>& parts) const;
  void encode_part(std::string_view text, const Part& part, std::vector<uint32_t>& ids);

 private:
  void encode_piece(std::string_view piece, bool first, std::vector<uint32_t>& ids);
  void encode_words(std::string_view piece, bool first, std::vector<uint32_t>& ids);
  void encode_cut(const char* from, const char* end, const char* limit, std::vector<uint32_t>& ids);
  void encode_word(std::string_view word, const char* limit, std::vector<uint32_t>& ids);

  std::shared_ptr<const Tokenizer> tokenizer_;
  WordCache cache_;
  Merger merger_;
  std::vector<Part> parts_;
  std::string normalized_;
  std::string prefixed_;
};

}  // namespace tweendeck::routing::tokenizer
