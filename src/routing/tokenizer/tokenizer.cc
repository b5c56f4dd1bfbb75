#include "routing/tokenizer/tokenizer.h"

#include <algorithm>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// Splits `text` at the added tokens that `tokens` finds.
template <class Each>
void each_part(const AddedTokens& tokens, std::string_view text, Each&& each) {
  size_t from = 0;
  Part found;
  while (from < text.size() && tokens.find(text, from, from, found)) {
    if (found.begin > from) each(Part{from, found.begin, Part::kText});
    each(found);
    from = found.end;
  }
  if (from < text.size()) each(Part{from, text.size(), Part::kText});
}

}  // namespace

uint32_t Tokenizer::id_of(std::string_view token) const {
  for (const AddedToken& one : added) {
    if (one.content == token) return one.id;
  }
  return bpe.vocabulary.find(token);
}

std::string_view Tokenizer::text_of(uint32_t id) const {
  for (const AddedToken& one : added) {
    if (one.id == id) return one.content;
  }
  return bpe.vocabulary.text(id);
}

void Encoder::parts(std::string_view text, std::vector<Part>& parts) const {
  parts.clear();
  each_part(tokenizer_->raw_tokens, text, [&](const Part& part) { parts.push_back(part); });
}

void Encoder::encode_part(std::string_view text, const Part& part, std::vector<uint32_t>& ids) {
  if (part.token != Part::kText) {
    ids.push_back(part.token);
  } else {
    encode_piece(text.substr(part.begin, part.end - part.begin), part.begin == 0, ids);
  }
}

void Encoder::encode(std::string_view text, EncodeOptions options, std::vector<uint32_t>& ids) {
  std::string repaired;
  if (!is_utf8(text)) text = repaired = repaired_utf8(text);
  if (options.special) ids.insert(ids.end(), tokenizer_->before.begin(), tokenizer_->before.end());
  parts(text, parts_);
  for (const Part& part : parts_) encode_part(text, part, ids);
  if (options.special) ids.insert(ids.end(), tokenizer_->after.begin(), tokenizer_->after.end());
}

void Encoder::encode_piece(std::string_view piece, bool first, std::vector<uint32_t>& ids) {
  const Tokenizer& t = *tokenizer_;
  piece = normalize(t.normalizer, piece, normalized_);
  if (t.normalized_tokens.empty()) return encode_words(piece, first, ids);
  each_part(t.normalized_tokens, piece, [&](const Part& part) {
    if (part.token != Part::kText) {
      ids.push_back(part.token);
    } else {
      encode_words(piece.substr(part.begin, part.end - part.begin), first && part.begin == 0, ids);
    }
  });
}

void Encoder::encode_words(std::string_view piece, bool first, std::vector<uint32_t>& ids) {
  const Tokenizer& t = *tokenizer_;
  if (piece.empty()) return;
  if (t.mark_spaces && piece.find(' ') != std::string_view::npos) {
    prefixed_ = replace_all(piece, " ", kSpaceMark);
    piece = prefixed_;
  }
  const bool wanted =
      t.prefix != Tokenizer::Prefix::None && (first || t.prefix != Tokenizer::Prefix::MarkAtStart);
  const std::string_view prefix = t.prefix == Tokenizer::Prefix::Space ? " " : kSpaceMark;
  if (wanted && !piece.starts_with(prefix)) {
    prefixed_ = std::string(prefix).append(piece);
    piece = prefixed_;
  }
  const char* limit = piece.data() + piece.size();
  const SplitStage* stages = t.stages.data();
  if (t.bpe.options.alphabet == Bpe::Alphabet::Bytes) {
    split(stages, stages + t.stages.size(), piece.data(), limit, [&](const char* from, const char* end) {
      encode_word({from, static_cast<size_t>(end - from)}, limit, ids);
    });
  } else {
    split(stages, stages + t.stages.size(), piece.data(), limit,
          [&](const char* from, const char* end) { encode_cut(from, end, limit, ids); });
  }
}

// Cuts where no merge can join, which gives short words that repeat out of text that nothing else splits.
void Encoder::encode_cut(const char* from, const char* end, const char* limit, std::vector<uint32_t>& ids) {
  const Bpe& bpe = tokenizer_->bpe;
  if (!bpe.options.byte_fallback) return encode_word({from, static_cast<size_t>(end - from)}, limit, ids);
  const char* start = from;
  Decoded last = decode(from);
  for (const char* at = from + last.length; at != end;) {
    const Decoded next = decode(at);
    if (bpe.may_cut(last.point, next.point)) {
      encode_word({start, static_cast<size_t>(at - start)}, limit, ids);
      start = at;
    }
    last = next;
    at += next.length;
  }
  encode_word({start, static_cast<size_t>(end - start)}, limit, ids);
}

void Encoder::encode_word(std::string_view word, const char* limit, std::vector<uint32_t>& ids) {
  if (word.size() > WordCache::kMostBytes) return merger_.encode(tokenizer_->bpe, word, ids);
  const WordCache::Key key = WordCache::key_of(word, static_cast<size_t>(limit - word.data()));
  if (cache_.append(key, ids)) return;
  const size_t had = ids.size();
  merger_.encode(tokenizer_->bpe, word, ids);
  cache_.keep(key, ids.data() + had, ids.size() - had);
}

}  // namespace tweendeck::routing::tokenizer
