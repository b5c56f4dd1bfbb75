#include "routing/template/python_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::chat_template {
namespace {

std::unexpected<Error> unsupported(const Value& value, std::string_view what) {
  return fail(Reason::TemplateUnsupported, fmt::format("chat template: {} of a {}", what, type_name(value)));
}

bool is_printable(uint32_t point) {
  return point == ' ' || (tokenizer::class_table()[point] & ~tokenizer::kSpace) != 0;
}

void append_quoted(std::string_view text, std::string& to) {
  const bool single = text.contains('\'') && !text.contains('"');
  const char quote = single ? '"' : '\'';
  to += quote;
  for (size_t at = 0; at < text.size();) {
    const tokenizer::Decoded next = tokenizer::decode(text.data() + at);
    const char c = text[at];
    if (c == quote || c == '\\') {
      to += '\\';
      to += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      to += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(next.point)) {
      to.append(text, at, next.length);
    } else if (next.point < 0x100) {
      fmt::format_to(std::back_inserter(to), "\\x{:02x}", next.point);
    } else if (next.point < 0x10000) {
      fmt::format_to(std::back_inserter(to), "\\u{:04x}", next.point);
    } else {
      fmt::format_to(std::back_inserter(to), "\\U{:08x}", next.point);
    }
    at += next.length;
  }
  to += quote;
}

void append_json_string(std::string_view text, bool ascii, std::string& to) {
  to += '"';
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    constexpr std::string_view kFrom = "\"\\\n\r\t\f\b", kTo = "\"\\nrtfb";
    const size_t known = kFrom.find(c);
    if (known != std::string_view::npos) {
      to += '\\';
      to += kTo[known];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(to), "\\u{:04x}", static_cast<unsigned>(c));
    } else if (static_cast<unsigned char>(c) < 0x80 || !ascii) {
      to += c;
    } else {
      const tokenizer::Decoded next = tokenizer::decode(text.data() + at);
      const uint32_t above = next.point - 0x10000;
      if (next.point < 0x10000) {
        fmt::format_to(std::back_inserter(to), "\\u{:04x}", next.point);
      } else {
        fmt::format_to(std::back_inserter(to), "\\u{:04x}\\u{:04x}", 0xD800 + (above >> 10),
                       0xDC00 + (above & 0x3FF));
      }
      at += next.length;
      continue;
    }
    ++at;
  }
  to += '"';
}

class JsonPrinter {
 public:
  JsonPrinter(const JsonStyle& style, std::string& to) : style_(style), to_(to) {}

  Status print(const Value& value, int level) {
    switch (value.kind) {
      case Kind::None:
        to_ += "null";
        return {};
      case Kind::Bool:
        to_ += value.boolean ? "true" : "false";
        return {};
      case Kind::Integer:
        fmt::format_to(std::back_inserter(to_), "{}", value.integer);
        return {};
      case Kind::Float:
        append_float(value.number, to_);
        return {};
      case Kind::String:
        append_json_string(value.text(), style_.ascii, to_);
        return {};
      case Kind::List:
      case Kind::Tuple:
        return print_list(value, level);
      case Kind::Dict:
        return print_dict(value, level);
      default:
        return unsupported(value, "tojson");
    }
  }

 private:
  void line(int level) {
    if (style_.indent >= 0) to_.append("\n").append(static_cast<size_t>(style_.indent * level), ' ');
  }

  Status print_list(const Value& value, int level) {
    if (value.size() == 0) {
      to_ += "[]";
      return {};
    }
    to_ += '[';
    for (const Value& item : value) {
      if (&item != value.begin()) to_ += style_.item_separator;
      line(level + 1);
      if (auto ok = print(item, level + 1); !ok) return ok;
    }
    line(level);
    to_ += ']';
    return {};
  }

  Status print_dict(const Value& value, int level) {
    std::vector<const Member*> members;
    for (size_t at = 0; at < value.dict->size; ++at) members.push_back(&value.dict->members[at]);
    for (const Member* member : members) {
      if (!member->key.is_string()) return unsupported(member->key, "tojson with a key");
    }
    if (style_.sort_keys) {
      std::sort(members.begin(), members.end(),
                [](const Member* a, const Member* b) { return a->key.text() < b->key.text(); });
    }
    if (members.empty()) {
      to_ += "{}";
      return {};
    }
    to_ += '{';
    for (const Member* member : members) {
      if (member != members.front()) to_ += style_.item_separator;
      line(level + 1);
      append_json_string(member->key.text(), style_.ascii, to_);
      to_ += style_.key_separator;
      if (auto ok = print(member->value, level + 1); !ok) return ok;
    }
    line(level);
    to_ += '}';
    return {};
  }

  const JsonStyle& style_;
  std::string& to_;
};

}  // namespace

// The shortest digits that read back the same; with an exponent below 1e-4 and from 1e16 on.
void append_float(double number, std::string& to) {
  if (std::isnan(number) || std::isinf(number)) {
    to += std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
    return;
  }
  const double size = std::fabs(number);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, number,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  const std::string_view digits(text, static_cast<size_t>(end.ptr - text));
  to += digits;
  if (plain && !digits.contains('.')) to += ".0";
}

Status append_repr(const Value& value, std::string& to) {
  switch (value.kind) {
    case Kind::Undefined:
      to += "Undefined";
      return {};
    case Kind::None:
      to += "None";
      return {};
    case Kind::Bool:
      to += value.boolean ? "True" : "False";
      return {};
    case Kind::Integer:
      fmt::format_to(std::back_inserter(to), "{}", value.integer);
      return {};
    case Kind::Float:
      append_float(value.number, to);
      return {};
    case Kind::String:
      append_quoted(value.text(), to);
      return {};
    case Kind::List:
    case Kind::Tuple: {
      const bool is_list = value.is(Kind::List);
      to += is_list ? '[' : '(';
      for (const Value& item : value) {
        if (&item != value.begin()) to += ", ";
        if (auto ok = append_repr(item, to); !ok) return ok;
      }
      if (!is_list && value.size() == 1) to += ',';
      to += is_list ? ']' : ')';
      return {};
    }
    case Kind::Dict:
      to += '{';
      for (size_t at = 0; at < value.dict->size; ++at) {
        const Member& member = value.dict->members[at];
        if (at > 0) to += ", ";
        if (auto ok = append_repr(member.key, to); !ok) return ok;
        to += ": ";
        if (auto ok = append_repr(member.value, to); !ok) return ok;
      }
      to += '}';
      return {};
    default:
      return unsupported(value, "printing");
  }
}

Status append_str(const Value& value, std::string& to) {
  if (value.is_string()) {
    to += value.text();
    return {};
  }
  if (value.is(Kind::Undefined)) return {};
  return append_repr(value, to);
}

Status append_json(const Value& value, const JsonStyle& style, std::string& to) {
  return JsonPrinter(style, to).print(value, 0);
}

}  // namespace tweendeck::routing::chat_template
