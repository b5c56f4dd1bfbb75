#include "routing/kv/vllm_hash.h"

namespace tweendeck::routing::kv {
namespace {

constexpr size_t kPickleFrame = size_t{1} << 16;

void put(std::string& out, uint8_t byte) {
  out += static_cast<char>(byte);
}

void put_little(std::string& out, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) put(out, static_cast<uint8_t>(number >> (8 * i)));
}

// ---- canonical CBOR, RFC 8949

void cbor_head(std::string& out, uint8_t major, uint64_t number) {
  const int width = number < 24            ? 0
                    : number < 0x100       ? 1
                    : number < 0x10000     ? 2
                    : number < 0x100000000 ? 4
                                           : 8;
  if (width == 0) return put(out, static_cast<uint8_t>(major << 5 | number));
  const int code = width == 1 ? 24 : width == 2 ? 25 : width == 4 ? 26 : 27;
  put(out, static_cast<uint8_t>(major << 5 | code));
  for (int i = width - 1; i >= 0; --i) put(out, static_cast<uint8_t>(number >> (8 * i)));
}

void cbor_text(std::string& out, std::string_view text) {
  cbor_head(out, 3, text.size());
  out += text;
}

// ---- pickle, protocol 5 (Lib/pickletools.py describes the opcodes)

constexpr uint8_t kMemoize = 0x94;

void pickle_int(std::string& out, uint32_t number) {
  if (number < 0x100) {
    put(out, 'K');
    put_little(out, number, 1);
  } else if (number < 0x10000) {
    put(out, 'M');
    put_little(out, number, 2);
  } else if (number < 0x80000000) {
    put(out, 'J');
    put_little(out, number, 4);
  } else {
    put(out, 0x8a);  // LONG1: 5 bytes, for the sign
    put(out, 5);
    put_little(out, number, 5);
  }
}

void pickle_text(std::string& out, std::string_view text) {
  if (text.size() < 0x100) {
    put(out, 0x8c);
    put_little(out, text.size(), 1);
  } else {
    put(out, 'X');
    put_little(out, text.size(), 4);
  }
  out += text;
  put(out, kMemoize);
}

void pickle_tokens(std::string& out, std::span<const uint32_t> tokens) {
  if (tokens.empty()) return put(out, ')');
  if (tokens.size() > 3) put(out, '(');
  for (const uint32_t token : tokens) pickle_int(out, token);
  put(out, tokens.size() > 3 ? uint8_t{'t'} : static_cast<uint8_t>(0x84 + tokens.size()));
  put(out, kMemoize);
}

}  // namespace

std::string_view to_string(HashScheme scheme) {
  return scheme == HashScheme::Sha256       ? "sha256"
         : scheme == HashScheme::Sha256Cbor ? "sha256_cbor"
                                            : "unknown";
}

uint64_t on_the_wire(const BlockHash& hash) {
  uint64_t out = 0;
  for (size_t i = hash.size() - 8; i < hash.size(); ++i) out = out << 8 | hash[i];
  return out;
}

// What stands around a pickle: protocol, one frame, the end.
std::string VllmHasher::serialized(std::string_view content) const {
  if (scheme_ == HashScheme::Sha256Cbor) return std::string(content);
  std::string out = "\x80\x05\x95";
  put_little(out, content.size() + 1, 8);
  out += content;
  put(out, '.');
  return out;
}

VllmHasher::VllmHasher(HashScheme scheme, std::string_view seed) : scheme_(scheme) {
  if (scheme_ == HashScheme::Sha256Cbor) {
    cbor_text(buffer_, seed);
  } else {
    pickle_text(buffer_, seed);
  }
  none_ = sha256(serialized(buffer_));
}

std::optional<BlockHash> VllmHasher::next(const BlockHash& parent, std::span<const uint32_t> tokens) {
  const std::string_view parent_bytes(reinterpret_cast<const char*>(parent.data()), parent.size());
  buffer_.clear();
  if (scheme_ == HashScheme::Sha256Cbor) {
    cbor_head(buffer_, 4, 3);
    cbor_head(buffer_, 2, parent.size());
    buffer_ += parent_bytes;
    cbor_head(buffer_, 4, tokens.size());
    for (const uint32_t token : tokens) cbor_head(buffer_, 0, token);
    put(buffer_, 0xf6);
    return sha256(buffer_);
  }
  put(buffer_, 'C');
  put_little(buffer_, parent.size(), 1);
  buffer_ += parent_bytes;
  put(buffer_, kMemoize);
  pickle_tokens(buffer_, tokens);
  put(buffer_, 'N');
  put(buffer_, 0x87);  // a tuple of the three
  put(buffer_, kMemoize);
  if (buffer_.size() >= kPickleFrame) return std::nullopt;
  return sha256(serialized(buffer_));
}

HashScheme recognize(const Event& event) {
  if (event.type != Event::Type::Stored || event.has_parent || event.has_lora || event.hashes.empty() ||
      event.tokens.empty() || !event.extras_of(0).empty()) {
    return HashScheme::Unknown;
  }
  const std::span<const uint32_t> tokens = std::span(event.tokens).first(event.block_tokens);
  for (const HashScheme scheme : {HashScheme::Sha256, HashScheme::Sha256Cbor}) {
    VllmHasher hasher(scheme);
    const auto hash = hasher.next(hasher.none(), tokens);
    if (hash && on_the_wire(*hash) == event.hashes[0]) return scheme;
  }
  return HashScheme::Unknown;
}

}  // namespace tweendeck::routing::kv
