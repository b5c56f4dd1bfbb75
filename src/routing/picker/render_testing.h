// For tests: what the picker told the proxy, as text; and messages of the proxy, made from text.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/protobuf.h"
#include "routing/picker/names.h"

namespace tweendeck::routing::picker {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// --- from the proxy

inline void write_header_map(const Pairs& headers, net::ProtoWriter& out) {
  for (size_t i = headers.size(); i-- > 0;) {
    const size_t mark = out.size();
    out.field(3, headers[i].second);
    out.field(1, headers[i].first);
    out.message(1, mark);
  }
}

// metadata_context of one namespace with one key, whose value is a list of strings or one string.
inline void write_metadata(std::string_view space, std::string_view key,
                           const std::vector<std::string_view>& values, bool as_list, net::ProtoWriter& out) {
  const size_t whole = out.size();
  const size_t value = out.size();
  if (as_list) {
    for (size_t i = values.size(); i-- > 0;) {
      const size_t one = out.size();
      out.field(3, values[i]);
      out.message(1, one);
    }
    out.message(6, value);
  } else {
    out.field(3, values.at(0));
  }
  out.message(2, value);
  out.field(1, key);
  out.message(1, value);
  out.message(2, whole);
  out.field(1, space);
  out.message(1, whole);
  out.message(8, whole);
}

// --- to the proxy

inline std::string shown(std::string_view bytes) {
  constexpr size_t kShown = 80;
  return bytes.size() <= kShown ? std::string(bytes) : fmt::format("{}B", bytes.size());
}

// The fields of a message in order, bytes fields only.
inline std::vector<std::pair<uint32_t, std::string_view>> fields_of(std::string_view message) {
  std::vector<std::pair<uint32_t, std::string_view>> out;
  net::ProtoReader in(message);
  while (in.next()) {
    if (in.is_bytes()) out.emplace_back(in.field(), in.bytes());
  }
  return out;
}

inline std::string_view field_of(std::string_view message, std::initializer_list<uint32_t> path) {
  for (uint32_t field : path) {
    std::string_view found;
    for (const auto& [number, bytes] : fields_of(message)) {
      if (number == field) found = bytes;
    }
    message = found;
  }
  return message;
}

inline uint64_t number_of(std::string_view message, uint32_t field) {
  net::ProtoReader in(message);
  while (in.next()) {
    if (in.field() == field && in.is_varint()) return in.varint();
  }
  return 0;
}

struct Told {
  std::string kind;
  Pairs set;
  std::vector<std::string> removed;
  std::string destination;  // of the metadata
  std::string body;
  bool end = false;
  uint64_t status = 0;
  std::string details;
  bool clears_route = false;
};

inline void read_mutation(std::string_view mutation, Told& told) {
  for (const auto& [number, bytes] : fields_of(mutation)) {
    if (number == 1) told.set.emplace_back(field_of(bytes, {1, 1}), field_of(bytes, {1, 3}));
    if (number == 2) told.removed.emplace_back(bytes);
  }
}

inline Told read_told(std::string_view message) {
  Told told;
  for (const auto& [number, content] : fields_of(message)) {
    const std::string_view common = field_of(content, {1});
    const std::string_view streamed = field_of(common, {3, 3});
    switch (number) {
      case 1:
      case 2:
        told.kind = number == 1 ? "headers" : "response-headers";
        told.clears_route = number_of(common, 5) != 0;
        read_mutation(field_of(common, {2}), told);
        break;
      case 3:
      case 4:
        told.kind = number == 3 ? "body" : "answer";
        told.body = field_of(streamed, {1});
        told.end = number_of(streamed, 2) != 0;
        break;
      case 5:
      case 6:
        told.kind = number == 5 ? "trailers" : "response-trailers";
        break;
      case 7:
        told.kind = "refuse";
        told.status = number_of(common, 1);
        read_mutation(field_of(content, {2}), told);
        told.body = field_of(content, {3});
        told.details = field_of(content, {5});
        break;
      case 8:
        told.destination = field_of(content, {1, 2, 5, 1, 2, 3});
        break;
      default:
        told.kind = "unknown";
    }
  }
  return told;
}

inline std::string to_text(const Told& told) {
  std::string out = told.kind;
  for (const auto& [name, value] : told.set) {
    if (name == kDestinationKey) {
      out += value == told.destination ? " to " + value : " header and metadata differ: " + value;
    } else if (name == kRequestId) {
      out += " request-id";
    } else {
      out += fmt::format(" {}={}", name, value);
    }
  }
  for (const std::string& name : told.removed) out += " -" + name;
  if (told.kind == "refuse") return fmt::format("{} {} {}", out, told.status, told.details);
  if (!told.body.empty()) out += " " + shown(told.body);
  return told.end ? out + " end" : out;
}

}  // namespace tweendeck::routing::picker
