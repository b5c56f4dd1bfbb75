// Dense ids for names, in order of first use; "" is 0. Ids are never used again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tweendeck::placement {

class Names {
 public:
  Names() : names_{""} { ids_.emplace("", 0); }
  uint32_t id(const std::string& name) {
    const auto [it, added] = ids_.try_emplace(name, static_cast<uint32_t>(names_.size()));
    if (added) names_.push_back(name);
    return it->second;
  }
  bool has(const std::string& name) const { return ids_.contains(name); }
  const std::string& name(uint32_t id) const { return names_[id]; }
  size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, uint32_t> ids_;
};

}  // namespace tweendeck::placement
