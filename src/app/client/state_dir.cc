#include "app/client/state_dir.h"

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/text.h"

namespace tweendeck::client {
namespace {

constexpr std::string_view kSocketName = "tweendeck.sock";

// FNV-1a: short, stable, and not a secret.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

Result<std::string> resolve_state_dir(const std::string& given, bool is_root,
                                      const cli::Environment& environment) {
  std::filesystem::path path = given;
  if (given.empty() && is_root) {
    path = "/var/lib/tweendeck";
  } else if (given.empty()) {
    std::string state_home = environment("XDG_STATE_HOME").value_or("");
    std::string home = environment("HOME").value_or("");
    if (state_home.empty() && home.empty()) {
      return fail(Reason::InvalidArgument, "no place for the state: neither XDG_STATE_HOME nor HOME is set",
                  "give --state-dir DIR");
    }
    path = state_home.empty() ? std::filesystem::path(home) / ".local/state/tweendeck"
                              : std::filesystem::path(state_home) / "tweendeck";
  }
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  std::string text = (error ? path : absolute).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string choose_socket_path(const std::string& state_dir, const std::string& runtime_dir) {
  std::string path = fmt::format("{}/{}", state_dir, kSocketName);
  if (path.size() <= kMaxSocketPathBytes) return path;
  return fmt::format("{}/{:016x}.sock", runtime_dir, hash_of(state_dir));
}

std::string find_socket_path(const std::string& state_dir) {
  std::ifstream file(state_dir + "/socket");
  std::string told;
  if (file && std::getline(file, told) && !trim(told).empty()) return std::string(trim(told));
  return fmt::format("{}/{}", state_dir, kSocketName);
}

}  // namespace tweendeck::client
