#include "base/reason.h"

#include <array>

namespace tweendeck {
namespace {

struct Entry {
  std::string_view name;
  ExitCode exit;
  int http;
  std::string_view text;
};

constexpr std::array kEntries = {
#define TW_REASON(name, exit_class, http, text) Entry{#name, ExitCode::exit_class, http, text},
#include "base/reason.def"
#undef TW_REASON
};

const Entry& entry(Reason reason) {
  return kEntries.at(static_cast<size_t>(reason));
}

}  // namespace

std::string_view to_string(Reason reason) {
  return entry(reason).name;
}
std::string_view describe(Reason reason) {
  return entry(reason).text;
}
int http_status(Reason reason) {
  return entry(reason).http;
}
ExitCode exit_code(Reason reason) {
  return entry(reason).exit;
}
std::optional<Reason> parse_reason(std::string_view name) {
  for (size_t i = 0; i < kEntries.size(); ++i) {
    if (kEntries[i].name == name) return static_cast<Reason>(i);
  }
  return std::nullopt;
}

}  // namespace tweendeck
