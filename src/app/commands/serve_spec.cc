#include "app/commands/serve_spec.h"

#include <fmt/format.h>

#include <cctype>
#include <filesystem>

#include "net/json.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::commands {

std::string absolute_model(const std::string& reference, const std::string& base_dir) {
  bool is_path = reference.find('/') != std::string::npos || reference.ends_with(".gguf");
  if (!is_path || reference.starts_with('/')) return reference;
  return (std::filesystem::path(base_dir) / reference).lexically_normal().string();
}

Result<std::string> name_from_model(const std::string& reference) {
  std::string stem = std::filesystem::path(reference).filename().string();
  if (stem.empty()) stem = std::filesystem::path(reference).parent_path().filename().string();
  if (stem.ends_with(".gguf")) stem.resize(stem.size() - 5);
  std::string name;
  for (char c : stem) {
    auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 && byte < 0x80)
      name += static_cast<char>(std::tolower(byte));
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  name.resize(std::min(name.size(), serving::kMaxNameBytes));
  while (!name.empty() && name.back() == '-') name.pop_back();
  if (name.empty()) {
    return fail(Reason::InvalidArgument, fmt::format("no name can be made from the model '{}'", reference),
                "give one with --name NAME");
  }
  return name;
}

std::string apply_body(const std::vector<serving::DeploymentSpec>& specs) {
  net::JsonWriter w;
  w.object().array("deployments");
  for (const serving::DeploymentSpec& spec : specs) w.raw(serving::to_json(spec));
  w.end().end();
  return w.take();
}

}  // namespace tweendeck::commands
