// The values that a chat template works with, as Python has them: small, copied freely, owned by an Arena.
//
// Nothing is ever changed after it was made, except a Namespace. An Arena frees all at once, has a hard limit, and says
// `full()` from then on; strings that would not fit are empty. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace tweendeck::routing::chat_template {

struct Value;
struct Loop;
struct MacroNode;

enum class Kind : uint8_t {
  Undefined,
  None,
  Bool,
  Integer,
  Float,
  String,
  List,
  Tuple,
  Dict,
  Namespace,
  Loop,      // the variable `loop`
  Macro,     // defined by the template
  Function,  // range, namespace, ...
  Method,    // a string's or dict's, bound to it
};

struct ListData {
  const Value* items;
  size_t size;
};
struct Member;
struct DictData {
  const Member* members;
  size_t size;
};
struct NamespaceData {
  std::vector<Member> members;
};
struct MethodData;

struct Value {
  Kind kind = Kind::Undefined;
  uint32_t length = 0;  // String
  union {
    bool boolean;
    int64_t integer;
    double number;
    const char* bytes;  // String; Undefined: the missing name, ended by NUL, or null
    const ListData* list;
    const DictData* dict;
    NamespaceData* space;
    const Loop* loop;
    const MacroNode* macro;
    const MethodData* method;
    int function;
  };

  Value() : bytes(nullptr) {}
  static Value none() { return of(Kind::None); }
  static Value of(bool flag);
  static Value of(int64_t number);
  static Value of(double number);
  static Value of(std::string_view text);  // `text` must outlive the value; at most 4 GiB

  bool is(Kind other) const { return kind == other; }
  bool is_string() const { return kind == Kind::String; }
  bool is_number() const { return kind == Kind::Bool || kind == Kind::Integer || kind == Kind::Float; }
  bool is_sequence() const { return kind == Kind::List || kind == Kind::Tuple; }
  std::string_view text() const { return {bytes, length}; }  // String
  const Value* begin() const { return list->items; }         // List, Tuple
  const Value* end() const { return list->items + list->size; }
  size_t size() const { return list->size; }

 private:
  static Value of(Kind kind) {
    Value value;
    value.kind = kind;
    return value;
  }
};

struct Member {
  Value key;
  Value value;
};
struct MethodData {
  Value self;
  std::string_view name;
};

class Arena {
 public:
  explicit Arena(size_t limit) : limit_(limit) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  bool full() const { return full_; }
  size_t used() const { return used_; }
  void clear();

  char* bytes(size_t count);  // nullptr when full
  Value text(std::string_view copy);
  Value joined(std::string_view left, std::string_view right);
  Value list(const std::vector<Value>& items, Kind kind = Kind::List);
  Value dict(const std::vector<Member>& members);
  Value method(const Value& self, std::string_view name);
  Value name_space();
  template <class T>
  T* make() {
    static_assert(std::is_trivially_destructible_v<T>);
    void* at = bytes_aligned(sizeof(T));
    return at == nullptr ? nullptr : new (at) T();
  }

 private:
  void* bytes_aligned(size_t count);

  static constexpr size_t kBlock = 64 << 10;
  size_t limit_;
  size_t used_ = 0;
  bool full_ = false;
  char* next_ = nullptr;
  size_t left_ = 0;
  std::vector<std::unique_ptr<char[]>> blocks_;
  std::vector<std::unique_ptr<NamespaceData>> spaces_;
};

// Python's truth.
bool is_true(const Value& value);
// Python's ==. Deep; charges nothing, so callers bound the size of what they compare (nesting is bounded by the reader).
bool equal(const Value& a, const Value& b);
// The member `key` of a dict, or nullptr.
const Value* find_member(const DictData& dict, std::string_view key);
const Value* find_member(const DictData& dict, const Value& key);
// "str", "int", ...: Python's name of the type, for messages.
std::string_view type_name(const Value& value);

}  // namespace tweendeck::routing::chat_template
