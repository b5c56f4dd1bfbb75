#include "device/cgroup/hierarchy.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace tweendeck::device {
namespace {

// mountinfo writes blank, tab, line feed and backslash as three octal digits.
std::string unescape(std::string_view text) {
  std::string out;
  auto octal = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '7'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// The path of this process in the hierarchy: "N:cpu,cpuacct:/path" for v1, "0::/path" for v2.
std::optional<std::string> own_path(std::string_view self_cgroup, const Hierarchy& hierarchy) {
  for (std::string_view line : split(self_cgroup, '\n')) {
    size_t first = line.find(':');
    size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view names = line.substr(first + 1, second - first - 1);
    bool matches =
        hierarchy.version == 2
            ? names.empty()
            : std::ranges::any_of(split(names, ','), [&](auto name) { return hierarchy.has(name); });
    if (matches) return std::string(line.substr(second + 1));
  }
  return std::nullopt;
}

// A bind mount or a cgroup namespace shows a part of the hierarchy only: `root` is what its mount point
// stands for.
std::string below(std::string_view path, std::string_view root) {
  if (root == "/") return path == "/" || path.starts_with("/..") ? "" : std::string(path);
  if (path == root || !path.starts_with(root) || path[root.size()] != '/') return "";
  return std::string(path.substr(root.size()));
}

std::optional<Hierarchy> parse_mount(std::string_view line, std::string_view self_cgroup) {
  size_t separator = line.find(" - ");
  if (separator == std::string_view::npos) return std::nullopt;
  std::vector<std::string_view> before = split(line.substr(0, separator), ' ');
  std::vector<std::string_view> after = split(line.substr(separator + 3), ' ');
  if (before.size() < 6 || after.size() < 3) return std::nullopt;
  Hierarchy hierarchy;
  hierarchy.mount_point = unescape(before[4]);
  if (after[0] == "cgroup2") {
    hierarchy.version = 2;
  } else if (after[0] == "cgroup") {
    hierarchy.version = 1;
    for (std::string_view option : split(after[2], ',')) hierarchy.controllers.emplace_back(option);
  } else {
    return std::nullopt;
  }
  std::optional<std::string> path = own_path(self_cgroup, hierarchy);
  if (!path) return std::nullopt;
  hierarchy.own_folder = below(*path, unescape(before[3]));
  return hierarchy;
}

}  // namespace

bool Hierarchy::has(std::string_view controller) const {
  return std::ranges::find(controllers, controller) != controllers.end();
}

std::vector<Hierarchy> parse_hierarchies(std::string_view mountinfo, std::string_view self_cgroup) {
  std::vector<Hierarchy> hierarchies;
  for (std::string_view line : split(mountinfo, '\n')) {
    if (std::optional<Hierarchy> hierarchy = parse_mount(line, self_cgroup))
      hierarchies.push_back(*hierarchy);
  }
  return hierarchies;
}

}  // namespace tweendeck::device
