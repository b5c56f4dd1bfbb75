#include "routing/template/value.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace tweendeck::routing::chat_template {
namespace {

double as_double(const Value& value) {
  if (value.is(Kind::Float)) return value.number;
  return value.is(Kind::Bool) ? static_cast<double>(value.boolean) : static_cast<double>(value.integer);
}
int64_t as_integer(const Value& value) {
  return value.is(Kind::Bool) ? static_cast<int64_t>(value.boolean) : value.integer;
}

}  // namespace

Value Value::of(bool flag) {
  Value value = of(Kind::Bool);
  value.boolean = flag;
  return value;
}
Value Value::of(int64_t number) {
  Value value = of(Kind::Integer);
  value.integer = number;
  return value;
}
Value Value::of(double number) {
  Value value = of(Kind::Float);
  value.number = number;
  return value;
}
Value Value::of(std::string_view text) {
  Value value = of(Kind::String);
  value.bytes = text.data();
  value.length = static_cast<uint32_t>(text.size());
  return value;
}

void Arena::clear() {
  blocks_.clear();
  spaces_.clear();
  used_ = left_ = 0;
  next_ = nullptr;
  full_ = false;
}

char* Arena::bytes(size_t count) {
  if (count > left_) {
    const size_t size = std::max(count, kBlock);
    if (full_ || size > limit_ - used_) {
      full_ = true;
      return nullptr;
    }
    used_ += size;
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    next_ = blocks_.back().get();
    left_ = size;
  }
  char* at = next_;
  next_ += count;
  left_ -= count;
  return at;
}

void* Arena::bytes_aligned(size_t count) {
  constexpr size_t kAlign = 16;
  char* at = bytes(count + kAlign - 1);
  if (at == nullptr) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(at);
  return at + ((address + kAlign - 1) / kAlign * kAlign - address);
}

Value Arena::text(std::string_view copy) {
  return joined(copy, {});
}

Value Arena::joined(std::string_view left, std::string_view right) {
  const size_t size = left.size() + right.size();
  char* at = size == 0 || size > UINT32_MAX ? nullptr : bytes(size);
  if (size > UINT32_MAX) full_ = true;
  if (at == nullptr) return Value::of(std::string_view("", 0));
  if (!left.empty()) std::memcpy(at, left.data(), left.size());
  if (!right.empty()) std::memcpy(at + left.size(), right.data(), right.size());
  return Value::of(std::string_view(at, size));
}

Value Arena::list(const std::vector<Value>& items, Kind kind) {
  static constexpr ListData kEmpty{nullptr, 0};
  Value value;
  value.kind = kind;
  value.list = &kEmpty;
  auto* data = make<ListData>();
  auto* copy = items.empty() ? nullptr : static_cast<Value*>(bytes_aligned(items.size() * sizeof(Value)));
  if (data == nullptr || copy == nullptr) return value;
  std::uninitialized_copy(items.begin(), items.end(), copy);
  *data = {copy, items.size()};
  value.list = data;
  return value;
}

Value Arena::dict(const std::vector<Member>& members) {
  static constexpr DictData kEmpty{nullptr, 0};
  Value value;
  value.kind = Kind::Dict;
  value.dict = &kEmpty;
  auto* data = make<DictData>();
  auto* copy =
      members.empty() ? nullptr : static_cast<Member*>(bytes_aligned(members.size() * sizeof(Member)));
  if (data == nullptr || copy == nullptr) return value;
  std::uninitialized_copy(members.begin(), members.end(), copy);
  *data = {copy, members.size()};
  value.dict = data;
  return value;
}

Value Arena::method(const Value& self, std::string_view name) {
  auto* data = make<MethodData>();
  if (data == nullptr) return {};
  *data = {self, name};
  Value value;
  value.kind = Kind::Method;
  value.method = data;
  return value;
}

Value Arena::name_space() {
  Value value;
  value.kind = Kind::Namespace;
  value.space = spaces_.emplace_back(std::make_unique<NamespaceData>()).get();
  return value;
}

bool is_true(const Value& value) {
  switch (value.kind) {
    case Kind::Undefined:
    case Kind::None:
      return false;
    case Kind::Bool:
      return value.boolean;
    case Kind::Integer:
      return value.integer != 0;
    case Kind::Float:
      return value.number != 0;
    case Kind::String:
      return value.length != 0;
    case Kind::List:
    case Kind::Tuple:
      return value.list->size != 0;
    case Kind::Dict:
      return value.dict->size != 0;
    default:
      return true;
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const bool floats = a.is(Kind::Float) || b.is(Kind::Float);
    return floats ? as_double(a) == as_double(b) : as_integer(a) == as_integer(b);
  }
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::Undefined:
    case Kind::None:
      return true;
    case Kind::String:
      return a.text() == b.text();
    case Kind::List:
    case Kind::Tuple:
      return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal);
    case Kind::Dict:
      if (a.dict == b.dict) return true;
      if (a.dict->size != b.dict->size) return false;
      return std::all_of(a.dict->members, a.dict->members + a.dict->size, [&](const Member& member) {
        const Value* other = find_member(*b.dict, member.key);
        return other != nullptr && equal(member.value, *other);
      });
    case Kind::Function:
      return a.function == b.function;
    default:
      return a.bytes == b.bytes;
  }
}

const Value* find_member(const DictData& dict, std::string_view key) {
  for (size_t at = 0; at < dict.size; ++at) {
    if (dict.members[at].key.is_string() && dict.members[at].key.text() == key)
      return &dict.members[at].value;
  }
  return nullptr;
}

const Value* find_member(const DictData& dict, const Value& key) {
  for (size_t at = 0; at < dict.size; ++at) {
    if (equal(dict.members[at].key, key)) return &dict.members[at].value;
  }
  return nullptr;
}

std::string_view type_name(const Value& value) {
  switch (value.kind) {
    case Kind::Undefined:
      return "undefined";
    case Kind::None:
      return "NoneType";
    case Kind::Bool:
      return "bool";
    case Kind::Integer:
      return "int";
    case Kind::Float:
      return "float";
    case Kind::String:
      return "str";
    case Kind::List:
      return "list";
    case Kind::Tuple:
      return "tuple";
    case Kind::Dict:
      return "dict";
    case Kind::Namespace:
      return "namespace";
    case Kind::Loop:
      return "loop";
    default:
      return "function";
  }
}

}  // namespace tweendeck::routing::chat_template
