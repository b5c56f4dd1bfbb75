#include "routing/template/json_reader.h"

#include <fmt/format.h>

#include <string>
#include <unordered_map>

#include "routing/template/template.h"

namespace tweendeck::routing::chat_template {

Result<Value> JsonReader::read(std::string_view json, Arena& arena) {
  if (used_ == parsers_.size()) parsers_.push_back(std::make_unique<simdjson::dom::parser>());
  simdjson::dom::parser& parser = *parsers_[used_++];
  simdjson::dom::element root;
  if (const auto error = parser.parse(json.data(), json.size(), true).get(root)) {
    return fail(Reason::MalformedRequest, fmt::format("not JSON: {}", simdjson::error_message(error)));
  }
  Value value;
  if (auto ok = build(root, 0, arena, value); !ok) return fail(ok.error());
  return value;
}

Status JsonReader::build(simdjson::dom::element from, size_t depth, Arena& arena, Value& to) {
  using Type = simdjson::dom::element_type;
  if (depth > kMostJsonDepth) {
    return fail(Reason::LimitExceeded,
                fmt::format("the JSON is nested deeper than {} levels", kMostJsonDepth));
  }
  switch (from.type()) {
    case Type::NULL_VALUE:
      to = Value::none();
      return {};
    case Type::BOOL:
      to = Value::of(from.get_bool().value_unsafe());
      return {};
    case Type::INT64:
      to = Value::of(from.get_int64().value_unsafe());
      return {};
    case Type::UINT64:
      return fail(Reason::TemplateUnsupported, "a number of the request has more than 64 bits");
    case Type::DOUBLE:
      to = Value::of(from.get_double().value_unsafe());
      return {};
    case Type::STRING:
      to = Value::of(from.get_string().value_unsafe());
      return {};
    case Type::ARRAY: {
      std::vector<Value> items;
      const simdjson::dom::array elements = from.get_array().value_unsafe();
      for (const simdjson::dom::element one : elements) {
        if (auto ok = build(one, depth + 1, arena, items.emplace_back()); !ok) return ok;
      }
      to = arena.list(items);
      break;
    }
    case Type::OBJECT: {
      // Like Python's, an object keeps the place of a key's first and the value of its last appearance.
      std::vector<Member> members;
      std::unordered_map<std::string_view, size_t> places;
      const simdjson::dom::object fields = from.get_object().value_unsafe();
      for (const auto field : fields) {
        const auto [place, added] = places.try_emplace(field.key, members.size());
        if (added) members.push_back({Value::of(field.key), Value()});
        if (members.size() > kMostMembers) {
          return fail(Reason::LimitExceeded,
                      fmt::format("an object of the JSON has more than {} members", kMostMembers));
        }
        if (auto ok = build(field.value, depth + 1, arena, members[place->second].value); !ok) return ok;
      }
      to = arena.dict(members);
      break;
    }
  }
  if (arena.full()) return fail(Reason::LimitExceeded, "the JSON takes more memory than a template may");
  return {};
}

}  // namespace tweendeck::routing::chat_template
