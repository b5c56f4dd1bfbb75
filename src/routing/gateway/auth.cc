#include "routing/gateway/auth.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <cerrno>
#include <fstream>

#include "base/text.h"
#include "net/http1.h"

namespace tweendeck::routing::gateway {

ApiKeys::Hash ApiKeys::hash(std::string_view key) {
  Hash out;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

Result<ApiKeys> ApiKeys::load(const std::string& file) {
  std::ifstream in(file);
  if (!in) return fail(system_error(errno, fmt::format("read the API keys of {}", file)));
  ApiKeys keys;
  std::string text;
  for (size_t line = 1; std::getline(in, text); ++line) {
    std::string_view key = trim(text);
    if (key.empty() || key.front() == '#') continue;
    if (key.size() < kMinKeyBytes || key.find_first_of(" \t") != std::string_view::npos) {
      return fail(
          Reason::InvalidArgument,
          fmt::format("{}:{}: a key has at least {} characters and no blanks", file, line, kMinKeyBytes),
          "make one with `openssl rand -hex 24`");
    }
    if (keys.hashes_.size() == kMaxKeys) {
      return fail(Reason::InvalidArgument, fmt::format("{} holds more than {} keys", file, kMaxKeys));
    }
    keys.hashes_.push_back(hash(key));
  }
  if (keys.hashes_.empty()) {
    return fail(Reason::InvalidArgument, fmt::format("{} holds no key", file), "write one key per line");
  }
  return keys;
}

bool ApiKeys::accepts(std::string_view authorization) const {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size() ||
      !net::equals_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return false;
  }
  Hash presented = hash(trim(authorization.substr(kScheme.size())));
  unsigned found = 0;
  for (const Hash& known : hashes_) {
    found |= static_cast<unsigned>(CRYPTO_memcmp(known.data(), presented.data(), known.size()) == 0);
  }
  return found != 0;
}

}  // namespace tweendeck::routing::gateway
