// API keys: only their SHA-256 is kept, and a presented key is compared with all of them in constant time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::routing::gateway {

class ApiKeys {
 public:
  static constexpr size_t kMinKeyBytes = 16;
  static constexpr size_t kMaxKeys = 10'000;

  // One key per line; empty lines and lines that start with '#' do not count. Errors: NotFound,
  // PermissionDenied, InvalidArgument (no key, a key too short or with blanks; told by line, never by
  // content).
  static Result<ApiKeys> load(const std::string& file);

  bool required() const { return !hashes_.empty(); }
  // `authorization` is the field's value: "Bearer KEY".
  bool accepts(std::string_view authorization) const;

 private:
  using Hash = std::array<uint8_t, 32>;
  static Hash hash(std::string_view key);
  std::vector<Hash> hashes_;
};

}  // namespace tweendeck::routing::gateway
