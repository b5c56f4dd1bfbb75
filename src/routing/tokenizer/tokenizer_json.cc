// Reading tokenizer.json. Whatever is not known to give the reference's ids is refused, by name.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/text.h"
#include "routing/tokenizer/tokenizer.h"
#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {
namespace {

using Json = simdjson::dom::element;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr size_t kMostStages = 8;
constexpr size_t kShownPattern = 160;  // bytes of a pattern in an error
constexpr int kMostNesting = 4;        // Sequences in Sequences

std::unexpected<Error> unsupported(std::string what) {
  return fail(Reason::TokenizerUnsupported, std::move(what),
              "prompts of this model can be hashed as text instead");
}
std::unexpected<Error> invalid(std::string what) {
  return fail(Reason::TokenizerInvalid, "tokenizer.json: " + std::move(what));
}

// Lenient getters: a missing or null field is the fallback, a wrong type too.
std::string_view text(const Json& json, std::string_view key, std::string_view fallback = {}) {
  std::string_view value;
  return json[key].get(value) == simdjson::SUCCESS ? value : fallback;
}
bool flag(const Json& json, std::string_view key, bool fallback = false) {
  bool value = false;
  return json[key].get(value) == simdjson::SUCCESS ? value : fallback;
}
bool present(const Json& json, std::string_view key) {
  Json value;
  return json[key].get(value) == simdjson::SUCCESS && !value.is_null();
}
std::optional<uint32_t> number(const Json& json) {
  uint64_t value = 0;
  if (json.get(value) != simdjson::SUCCESS || value >= kMostTokens) return std::nullopt;
  return static_cast<uint32_t>(value);
}

// The bytes that a token of a byte-level vocabulary stands for: printable Latin-1 stands for itself, the other bytes for
// U+0100 and up, in order. Nothing when a character stands for no byte.
std::optional<std::string> from_byte_level(std::string_view token) {
  static const auto bytes = [] {
    std::vector<int> table(512, -1);
    uint32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool self = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
      table[self ? static_cast<uint32_t>(byte) : next++] = byte;
    }
    return table;
  }();
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const Decoded next = decode(token.data() + at);
    if (next.point >= bytes.size() || bytes[next.point] < 0) return std::nullopt;
    out += static_cast<char>(bytes[next.point]);
    at += next.length;
  }
  return out;
}

class Loader {
 public:
  explicit Loader(Json root) : root_(root) {}

  Result<std::shared_ptr<const Tokenizer>> load() {
    for (auto step : {&Loader::read_normalizer, &Loader::read_pre_tokenizer, &Loader::read_model,
                      &Loader::read_added, &Loader::read_post_processor}) {
      if (auto ok = (this->*step)(); !ok) return fail(ok.error());
    }
    if (auto ok = out_->bpe.finish(); !ok) return fail(ok.error());
    return std::shared_ptr<const Tokenizer>(std::move(out_));
  }

 private:
  Status read_normalizer() {
    return present(root_, "normalizer") ? normalizer(root_["normalizer"].value_unsafe(), 0) : Status{};
  }

  Status normalizer(const Json& json, int depth) {
    const std::string_view type = text(json, "type");
    simdjson::dom::array list;
    if (type == "Sequence" && depth < kMostNesting && json["normalizers"].get(list) == simdjson::SUCCESS) {
      for (const Json item : list) {
        if (auto ok = normalizer(item, depth + 1); !ok) return ok;
      }
      return {};
    }
    if (out_->normalizer.size() >= kMostStages) return unsupported("the normalizer has too many steps");
    if (type == "NFC") {
      out_->normalizer.push_back({NormalizeStep::Kind::Nfc, {}, {}});
      return {};
    }
    if (type == "Prepend") {
      out_->normalizer.push_back({NormalizeStep::Kind::Prepend, {}, std::string(text(json, "prepend"))});
      return {};
    }
    std::string_view find;
    if (type == "Replace" && json["pattern"]["String"].get(find) == simdjson::SUCCESS && !find.empty()) {
      out_->normalizer.push_back(
          {NormalizeStep::Kind::Replace, std::string(find), std::string(text(json, "content"))});
      return {};
    }
    return unsupported(
        fmt::format("the normalizer {} is not known", type == "Replace" ? "Replace of a pattern" : type));
  }

  Status read_pre_tokenizer() {
    return present(root_, "pre_tokenizer") ? pre_tokenizer(root_["pre_tokenizer"].value_unsafe(), 0)
                                           : Status{};
  }

  Status pre_tokenizer(const Json& json, int depth) {
    const std::string_view type = text(json, "type");
    simdjson::dom::array list;
    if (type == "Sequence" && depth < kMostNesting && json["pretokenizers"].get(list) == simdjson::SUCCESS) {
      for (const Json item : list) {
        if (auto ok = pre_tokenizer(item, depth + 1); !ok) return ok;
      }
      return {};
    }
    if (byte_level_) return unsupported(fmt::format("the pre-tokenizer {} follows ByteLevel", type));
    if (out_->stages.size() >= kMostStages) return unsupported("the pre-tokenizer has too many steps");
    if (type == "ByteLevel") return byte_level(json);
    if (type == "Metaspace") return metaspace(json);
    if (type == "Split") return split_step(json);
    if (type == "Digits") {
      const uint32_t most = flag(json, "individual_digits") ? 1 : 0;
      out_->stages.push_back({SplitStage::Kind::Numbers, {}, most});
      return {};
    }
    return unsupported(fmt::format("the pre-tokenizer {} is not known", type));
  }

  Status byte_level(const Json& json) {
    byte_level_ = true;
    if (flag(json, "add_prefix_space", true)) {
      if (!out_->stages.empty())
        return unsupported("ByteLevel puts a space before each part of a split text");
      out_->prefix = Tokenizer::Prefix::Space;
    }
    if (flag(json, "use_regex", true)) out_->stages.push_back(byte_level_stage());
    return {};
  }

  Status metaspace(const Json& json) {
    if (!out_->stages.empty()) return unsupported("the pre-tokenizer Metaspace follows another");
    if (text(json, "replacement", kSpaceMark) != kSpaceMark) {
      return unsupported("the pre-tokenizer Metaspace has another mark than U+2581");
    }
    const std::string_view scheme =
        text(json, "prepend_scheme", flag(json, "add_prefix_space", true) ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return invalid(fmt::format("Metaspace has the prepend_scheme {}", json_quote(scheme)));
    }
    if (scheme == "always") out_->prefix = Tokenizer::Prefix::Mark;
    if (scheme == "first") out_->prefix = Tokenizer::Prefix::MarkAtStart;
    out_->mark_spaces = true;
    if (flag(json, "split", true)) out_->stages.push_back({SplitStage::Kind::MarkedSpaces, {}, 0});
    return {};
  }

  Status split_step(const Json& json) {
    const std::string_view behavior = text(json, "behavior");
    const bool invert = flag(json, "invert");
    std::string_view pattern;
    if (json["pattern"]["String"].get(pattern) == simdjson::SUCCESS) {
      // Gemma splits at spaces that its normalizer has replaced already.
      const bool replaced = std::ranges::any_of(out_->normalizer, [&](const NormalizeStep& step) {
        return step.kind == NormalizeStep::Kind::Replace && step.find == pattern &&
               !step.content.contains(pattern);
      });
      if (replaced && out_->normalizer.back().kind == NormalizeStep::Kind::Replace) return {};
      return unsupported(fmt::format("the pre-tokenizer splits at {}", json_quote(pattern)));
    }
    if (json["pattern"]["Regex"].get(pattern) != simdjson::SUCCESS) return invalid("a Split has no pattern");
    const auto known = known_pattern(pattern);
    if (!known) {
      return unsupported(fmt::format("the pre-tokenizer's pattern is not known: {}",
                                     json_quote(pattern.substr(0, kShownPattern))));
    }
    const bool isolated =
        (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert && known->gapless);
    if (!isolated)
      return unsupported(fmt::format("a Split has the behavior {}{}", behavior, invert ? ", inverted" : ""));
    out_->stages.push_back(known->stage);
    return {};
  }

  Status read_model() {
    Json model;
    if (root_["model"].get(model) != simdjson::SUCCESS) return invalid("there is no model");
    // Files of the first years name no type; theirs is told by its fields.
    const std::string_view type = text(model, "type", present(model, "merges") ? "BPE" : "");
    if (type != "BPE")
      return unsupported(fmt::format("the model is {}, not BPE", type.empty() ? "of no named type" : type));
    double dropout = 0;
    if (present(model, "dropout") && (model["dropout"].get(dropout) != simdjson::SUCCESS || dropout != 0)) {
      return unsupported("the model has a dropout");
    }
    for (const std::string_view field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!text(model, field).empty()) return unsupported(fmt::format("the model has a {}", field));
    }
    Bpe::Options& options = out_->bpe.options;
    options.alphabet = byte_level_ ? Bpe::Alphabet::Bytes : Bpe::Alphabet::Characters;
    options.ignore_merges = flag(model, "ignore_merges");
    options.byte_fallback = flag(model, "byte_fallback");
    options.fuse_unknown = flag(model, "fuse_unk");
    if (byte_level_ && options.byte_fallback) return unsupported("a byte-level model has byte_fallback");
    if (!byte_level_ && options.ignore_merges)
      return unsupported("ignore_merges without a ByteLevel pre-tokenizer");
    if (auto ok = read_vocabulary(model); !ok) return ok;
    if (present(model, "unk_token")) {
      options.unknown = token_id(text(model, "unk_token"));
      if (options.unknown == kNoId) return invalid("unk_token is not in the vocabulary");
    }
    return read_merges(model);
  }

  Status read_vocabulary(const Json& model) {
    simdjson::dom::object vocabulary;
    if (model["vocab"].get(vocabulary) != simdjson::SUCCESS) return invalid("the model has no vocab");
    out_->bpe.vocabulary.reserve(std::min(vocabulary.size(), kMostTokens));
    for (const auto field : vocabulary) {
      const auto id = number(field.value);
      if (!id) return invalid(fmt::format("token {} has no id below {}", json_quote(field.key), kMostTokens));
      if (field.key.empty()) continue;
      ++vocabulary_size_;
      std::optional<std::string> bytes;
      if (byte_level_ && !(bytes = from_byte_level(field.key))) {
        unreachable_[field.key] = *id;  // no text gives it, but an added token may name it
        continue;
      }
      if (!out_->bpe.vocabulary.text(*id).empty())
        return invalid(fmt::format("two tokens have the id {}", *id));
      if (!out_->bpe.vocabulary.add(bytes ? std::string_view(*bytes) : field.key, *id)) {
        return invalid(fmt::format("the token {} is there twice", json_quote(field.key)));
      }
    }
    return {};
  }

  // The id of a token as the file spells it.
  uint32_t token_id(std::string_view token) const {
    if (!byte_level_) return out_->bpe.vocabulary.find(token);
    const auto bytes = from_byte_level(token);
    if (bytes) return out_->bpe.vocabulary.find(*bytes);
    const auto found = unreachable_.find(token);
    return found == unreachable_.end() ? kNoId : found->second;
  }

  Status read_merges(const Json& model) {
    simdjson::dom::array merges;
    if (model["merges"].get(merges) != simdjson::SUCCESS) return invalid("the model has no merges");
    uint32_t rank = 0;
    std::string joined;
    for (const Json merge : merges) {
      if (rank >= kMostTokens * 2)
        return invalid(fmt::format("there are more than {} merges", kMostTokens * 2));
      std::string_view left, right, line;
      if (merge.get(line) == simdjson::SUCCESS) {
        const size_t space = line.find(' ');
        if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
          return invalid(fmt::format("merge {} is not two tokens: {}", rank, json_quote(line)));
        }
        left = line.substr(0, space);
        right = line.substr(space + 1);
      } else if (merge.at(0).get(left) != simdjson::SUCCESS || merge.at(1).get(right) != simdjson::SUCCESS) {
        return invalid(fmt::format("merge {} is not two tokens", rank));
      }
      joined.assign(left).append(right);
      const uint32_t ids[] = {token_id(left), token_id(right), token_id(joined)};
      if (std::ranges::find(ids, kNoId) != std::end(ids)) {
        return invalid(fmt::format("merge {} names a token that is not in the vocabulary: {} + {}", rank,
                                   json_quote(left), json_quote(right)));
      }
      if (rank == 0) out_->bpe.reserve_merges(std::min(merges.size(), kMostTokens));
      // A merge of a token that no text gives never happens.
      const bool reachable = !byte_level_ || (!unreachable_.contains(left) && !unreachable_.contains(right));
      if (reachable) out_->bpe.add_merge(ids[0], ids[1], {rank, ids[2]});
      ++rank;
    }
    return {};
  }

  Status read_added() {
    simdjson::dom::array list;
    if (!present(root_, "added_tokens")) return {};
    if (root_["added_tokens"].get(list) != simdjson::SUCCESS) return invalid("added_tokens is not a list");
    uint32_t next = static_cast<uint32_t>(vocabulary_size_);  // what the reference numbers a new token
    for (const Json json : list) {
      AddedToken token;
      token.content = text(json, "content");
      if (token.content.empty()) continue;
      uint64_t id = 0;
      if (json["id"].get(id) != simdjson::SUCCESS || id >= kMostTokens) {
        return invalid(
            fmt::format("the added token {} has no id below {}", json_quote(token.content), kMostTokens));
      }
      token.id = static_cast<uint32_t>(id);
      const uint32_t in_vocabulary = token_id(token.content);
      const uint32_t expected = in_vocabulary != kNoId ? in_vocabulary : next;
      if (expected != token.id) {
        return unsupported(fmt::format("the added token {} has the id {} but would be numbered {}",
                                       json_quote(token.content), token.id, expected));
      }
      next = std::max(next, token.id + 1);
      token.special = flag(json, "special");
      token.normalized = flag(json, "normalized");
      token.lstrip = flag(json, "lstrip");
      token.rstrip = flag(json, "rstrip");
      if (flag(json, "single_word")) {
        return unsupported(fmt::format("the added token {} is a single_word", json_quote(token.content)));
      }
      if (auto ok = add(std::move(token)); !ok) return ok;
    }
    return {};
  }

  Status add(AddedToken token) {
    const Decoded first = decode(token.content.data());
    const bool begins_with_space = (class_table()[first.point] & kSpace) != 0;
    takes_right_ |= token.rstrip;
    begins_with_space_ |= begins_with_space;
    if (takes_right_ && begins_with_space_) {
      return unsupported("one added token takes the white space behind it and another begins with some");
    }
    if (token.normalized) {
      std::string scratch;
      const std::string_view content = normalize(out_->normalizer, token.content, scratch);
      if (!content.empty()) out_->normalized_tokens.add(content, token);
    } else {
      out_->raw_tokens.add(token.content, token);
    }
    out_->added.push_back(std::move(token));
    return {};
  }

  Status read_post_processor() {
    return present(root_, "post_processor") ? post_processor(root_["post_processor"].value_unsafe(), 0)
                                            : Status{};
  }

  Status post_processor(const Json& json, int depth) {
    const std::string_view type = text(json, "type");
    simdjson::dom::array list;
    if (type == "ByteLevel") return {};  // only moves offsets
    if (type == "Sequence" && depth < kMostNesting && json["processors"].get(list) == simdjson::SUCCESS) {
      for (const Json item : list) {
        if (auto ok = post_processor(item, depth + 1); !ok) return ok;
      }
      return {};
    }
    if (type != "TemplateProcessing" || json["single"].get(list) != simdjson::SUCCESS) {
      return unsupported(fmt::format("the post-processor {} is not known", type));
    }
    std::vector<uint32_t>* to = &out_->before;
    for (const Json item : list) {
      std::string_view name;
      if (item["SpecialToken"]["id"].get(name) != simdjson::SUCCESS) {
        to = &out_->after;
        continue;
      }
      simdjson::dom::array ids;
      if (json["special_tokens"][name]["ids"].get(ids) != simdjson::SUCCESS) {
        return invalid(fmt::format("the post-processor has no ids for {}", json_quote(name)));
      }
      for (const Json id : ids) {
        const auto value = number(id);
        if (!value)
          return invalid(fmt::format("the post-processor's ids for {} are not ids", json_quote(name)));
        to->push_back(*value);
      }
    }
    return {};
  }

  Json root_;
  std::shared_ptr<Tokenizer> out_ = std::make_shared<Tokenizer>();
  bool byte_level_ = false;
  bool takes_right_ = false;
  bool begins_with_space_ = false;
  size_t vocabulary_size_ = 0;
  std::unordered_map<std::string_view, uint32_t> unreachable_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(std::string_view json) {
  if (json.size() > kMostTokenizerBytes) {
    return fail(Reason::LimitExceeded,
                fmt::format("tokenizer.json is larger than {} MiB", kMostTokenizerBytes >> 20));
  }
  simdjson::dom::parser parser;
  Json root;
  if (const auto error = parser.parse(json.data(), json.size(), true).get(root)) {
    return invalid(simdjson::error_message(error));
  }
  if (!root.is_object()) return invalid("it is not an object");
  return Loader(root).load();
}

}  // namespace tweendeck::routing::tokenizer
