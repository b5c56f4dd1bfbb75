#include "routing/picker/messages.h"

#include <algorithm>
#include <ranges>

#include "routing/picker/names.h"

namespace tweendeck::routing::picker {
namespace {

using net::ProtoReader;
using net::ProtoWriter;

// Field numbers: envoy/service/ext_proc/v3/external_processor.proto, envoy/config/core/v3/base.proto,
// google/protobuf/struct.proto.
namespace request {
constexpr uint32_t kFirstKind = 2, kLastKind = 7, kMetadata = 8;
constexpr uint32_t kHeaders = 1, kHeadersEnd = 3;
constexpr uint32_t kBody = 1, kBodyEnd = 2, kBodyEndWithoutMessage = 3;
constexpr uint32_t kMapHeaders = 1, kKey = 1, kValue = 2, kRawValue = 3;
constexpr uint32_t kFilterMetadata = 1;
}  // namespace request
namespace answer {
constexpr uint32_t kRequestHeaders = 1, kResponseHeaders = 2, kRequestBody = 3, kResponseBody = 4;
constexpr uint32_t kRequestTrailers = 5, kResponseTrailers = 6, kImmediate = 7, kDynamicMetadata = 8;
constexpr uint32_t kCommon = 1;
constexpr uint32_t kHeaderMutation = 2, kBodyMutation = 3, kClearRouteCache = 5;
constexpr uint32_t kSetHeaders = 1, kRemoveHeaders = 2;
constexpr uint32_t kOptionHeader = 1, kOptionAction = 3;
constexpr uint64_t kOverwriteOrAdd = 2;  // HeaderAppendAction
constexpr uint32_t kStreamed = 3, kStreamedBody = 1, kStreamedEnd = 2;
constexpr uint32_t kStatus = 1, kImmediateHeaders = 2, kImmediateBody = 3, kDetails = 5, kStatusCode = 1;
}  // namespace answer
namespace structs {
constexpr uint32_t kFields = 1, kKey = 1, kValue = 2;
constexpr uint32_t kString = 3, kStruct = 5, kList = 6, kListValues = 1;
}  // namespace structs

bool read_headers(std::string_view bytes, std::vector<HeaderView>& out) {
  ProtoReader map(bytes);
  while (map.next()) {
    if (map.field() != request::kMapHeaders || !map.is_bytes()) continue;
    if (out.size() == FromProxy::kMaxHeaders) return false;
    HeaderView header;
    ProtoReader fields(map.bytes());
    while (fields.next()) {
      if (!fields.is_bytes()) continue;
      if (fields.field() == request::kKey) header.name = fields.bytes();
      // raw_value is what Envoy fills; value is for older proxies.
      if (fields.field() == request::kRawValue && !fields.bytes().empty()) header.value = fields.bytes();
      if (fields.field() == request::kValue && header.value.empty()) header.value = fields.bytes();
    }
    if (!fields.ok()) return false;
    out.push_back(header);
  }
  return map.ok();
}

bool read_headers_message(std::string_view bytes, FromProxy& out) {
  ProtoReader in(bytes);
  while (in.next()) {
    if (in.field() == request::kHeaders && in.is_bytes() && !read_headers(in.bytes(), out.headers))
      return false;
    if (in.field() == request::kHeadersEnd && in.is_varint()) out.end_of_stream = in.varint() != 0;
  }
  return in.ok();
}

bool read_body_message(std::string_view bytes, FromProxy& out) {
  ProtoReader in(bytes);
  while (in.next()) {
    if (in.field() == request::kBody && in.is_bytes()) out.body = in.bytes();
    const bool is_end = in.field() == request::kBodyEnd || in.field() == request::kBodyEndWithoutMessage;
    if (is_end && in.is_varint()) out.end_of_stream |= in.varint() != 0;
  }
  return in.ok();
}

// Calls `each` with the key and the value of every entry of a map<string, message>.
template <class Each>
bool read_map(std::string_view bytes, uint32_t field, Each each) {
  ProtoReader in(bytes);
  while (in.next()) {
    if (in.field() != field || !in.is_bytes()) continue;
    std::string_view key, value;
    ProtoReader entry(in.bytes());
    while (entry.next()) {
      if (entry.field() == structs::kKey && entry.is_bytes()) key = entry.bytes();
      if (entry.field() == structs::kValue && entry.is_bytes()) value = entry.bytes();
    }
    if (!entry.ok() || !each(key, value)) return false;
  }
  return in.ok();
}

// A string, or a list of strings (in lists).
bool read_strings(std::string_view value, std::vector<std::string_view>& out, int nesting) {
  if (nesting == FromProxy::kMaxNesting) return false;
  ProtoReader in(value);
  while (in.next()) {
    if (in.field() == structs::kString && in.is_bytes()) {
      if (out.size() == FromProxy::kMaxSubset) return false;
      out.push_back(in.bytes());
    }
    if (in.field() != structs::kList || !in.is_bytes()) continue;
    ProtoReader list(in.bytes());
    while (list.next()) {
      if (list.field() != structs::kListValues || !list.is_bytes()) continue;
      if (!read_strings(list.bytes(), out, nesting + 1)) return false;
    }
    if (!list.ok()) return false;
  }
  return in.ok();
}

bool read_metadata(std::string_view bytes, FromProxy& out) {
  return read_map(bytes, request::kFilterMetadata, [&](std::string_view name, std::string_view of_filter) {
    const bool is_hint = name == kSubsetNamespace;
    if (!is_hint && name != kDestinationNamespace) return true;
    return read_map(of_filter, structs::kFields, [&](std::string_view key, std::string_view value) {
      std::vector<std::string_view> strings;
      if (is_hint && key == kSubsetKey) {
        out.has_subset = true;
        return read_strings(value, out.subset, 0);
      }
      if (!is_hint && key == kServedKey) {
        if (!read_strings(value, strings, 0)) return false;
        if (!strings.empty()) out.served = strings.front();
      }
      return true;
    });
  });
}

void write_mutation(uint32_t field, const Mutation& mutation, ProtoWriter& out) {
  if (mutation.set.empty() && mutation.remove.empty()) return;
  const size_t mark = out.size();
  for (std::string_view name : mutation.remove | std::views::reverse) out.field(answer::kRemoveHeaders, name);
  for (const SetHeader& header : mutation.set | std::views::reverse) {
    const size_t option = out.size();
    out.field(answer::kOptionAction, answer::kOverwriteOrAdd);
    const size_t value = out.size();
    out.field(request::kRawValue, header.value);
    out.field(request::kKey, header.name);
    out.message(answer::kOptionHeader, value);
    out.message(answer::kSetHeaders, option);
  }
  out.message(field, mark);
}

// map<string, Value> entry `name` of a Struct, its Value being what was written since `mark`.
void write_entry(std::string_view name, size_t mark, ProtoWriter& out) {
  out.message(structs::kValue, mark);
  out.field(structs::kKey, name);
  out.message(structs::kFields, mark);
}

}  // namespace

std::string_view FromProxy::header(std::string_view name) const {
  const auto found = std::ranges::find(headers, name, &HeaderView::name);
  return found == headers.end() ? std::string_view() : found->value;
}

bool parse_from_proxy(std::string_view bytes, FromProxy& out) {
  out.kind = FromProxy::Kind::Nothing;
  out.end_of_stream = out.has_subset = false;
  out.headers.clear();
  out.subset.clear();
  out.body = out.served = {};
  ProtoReader in(bytes);
  while (in.next()) {
    if (!in.is_bytes()) continue;
    if (in.field() == request::kMetadata && !read_metadata(in.bytes(), out)) return false;
    if (in.field() < request::kFirstKind || in.field() > request::kLastKind) continue;
    if (out.kind != FromProxy::Kind::Nothing) return false;  // one of
    out.kind = static_cast<FromProxy::Kind>(in.field() - request::kFirstKind + 1);
    bool good = false;
    switch (out.kind) {
      case FromProxy::Kind::RequestBody:
      case FromProxy::Kind::ResponseBody:
        good = read_body_message(in.bytes(), out);
        break;
      default:  // trailers have the headers' first field and not their end
        good = read_headers_message(in.bytes(), out);
    }
    if (!good) return false;
  }
  return in.ok();
}

void write_request_headers(const Mutation& mutation, std::string_view destination, ProtoWriter& out) {
  out.clear();
  if (!destination.empty()) {
    // {"envoy.lb": {"x-gateway-destination-endpoint": "ip:port,..."}}
    out.field(structs::kString, destination);
    write_entry(kDestinationKey, 0, out);
    out.message(structs::kStruct, 0);
    write_entry(kDestinationNamespace, 0, out);
    out.message(answer::kDynamicMetadata, 0);
  }
  const size_t mark = out.size();
  out.flag(answer::kClearRouteCache, true);
  write_mutation(answer::kHeaderMutation, mutation, out);
  out.message(answer::kCommon, mark);
  out.message(answer::kRequestHeaders, mark);
}

void write_response_headers(const Mutation& mutation, ProtoWriter& out) {
  out.clear();
  write_mutation(answer::kHeaderMutation, mutation, out);
  out.message(answer::kCommon, 0);
  out.message(answer::kResponseHeaders, 0);
}

void write_body(bool of_request, size_t body_bytes, bool end_of_stream, ProtoWriter& out) {
  out.clear();
  if (end_of_stream) out.flag(answer::kStreamedEnd, true);
  if (body_bytes > 0) out.absent_field(answer::kStreamedBody, body_bytes);
  out.message(answer::kStreamed, 0);
  out.message(answer::kBodyMutation, 0);
  out.message(answer::kCommon, 0);
  out.message(of_request ? answer::kRequestBody : answer::kResponseBody, 0);
}

void write_trailers(bool of_request, ProtoWriter& out) {
  out.clear();
  out.message(of_request ? answer::kRequestTrailers : answer::kResponseTrailers, 0);
}

void write_immediate(int status, const Mutation& mutation, std::string_view body, std::string_view details,
                     ProtoWriter& out) {
  out.clear();
  if (!details.empty()) out.field(answer::kDetails, details);
  if (!body.empty()) out.field(answer::kImmediateBody, body);
  write_mutation(answer::kImmediateHeaders, mutation, out);
  const size_t mark = out.size();
  out.field(answer::kStatusCode, static_cast<uint64_t>(status));
  out.message(answer::kStatus, mark);
  out.message(answer::kImmediate, 0);
}

}  // namespace tweendeck::routing::picker
