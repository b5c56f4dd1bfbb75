#include "serving/spec/model_ref.h"

#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/text.h"
#include "serving/spec/deployment_spec.h"
#include "serving/spec/yaml_reader.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxAliasFileBytes = 64 * 1024;
constexpr int kMaxDirectoryEntries = 100'000;

bool is_name(std::string_view reference) {
  return reference.find('/') == std::string_view::npos;
}

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

Result<ModelRef> file_ref(const std::string& reference, const std::string& path, uint64_t bytes) {
  if (auto valid = check_gguf(path); !valid) return fail(valid.error());
  return ModelRef{reference, "gguf", path, fs::path(path).stem(), bytes};
}

Result<ModelRef> directory_ref(const std::string& reference, const std::string& path) {
  uint64_t bytes = 0;
  int entries = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (++entries > kMaxDirectoryEntries) break;
    std::error_code ignored;
    if (entry.is_regular_file(ignored)) bytes += entry.file_size(ignored);
  }
  if (error) return fail(system_error(error.value(), "cannot read the model directory " + path));
  if (!fs::exists(path + "/config.json")) {
    return fail(Reason::ModelCorrupt,
                fmt::format("{} holds no config.json, so it is no model directory", path),
                "name a directory in the Hugging Face layout, or a GGUF file");
  }
  return ModelRef{reference, "directory", path, fs::path(path).filename(), bytes};
}

Result<ModelRef> path_ref(const std::string& reference, const std::string& path) {
  std::error_code error;
  const std::string absolute = fs::canonical(path, error);
  if (error.value() == ENOENT || error.value() == ENOTDIR) {
    return fail(Reason::ModelNotFound, fmt::format("no model at {}", path),
                "check the path; `~` and relative paths count from the caller");
  }
  if (error) return fail(system_error(error.value(), "cannot look at the model " + path));
  struct stat info{};
  if (stat(absolute.c_str(), &info) != 0)
    return fail(system_error(errno, "cannot look at the model " + absolute));
  if (S_ISDIR(info.st_mode)) return directory_ref(reference, absolute);
  if (S_ISREG(info.st_mode)) return file_ref(reference, absolute, static_cast<uint64_t>(info.st_size));
  return fail(Reason::ModelNotFound, fmt::format("{} is neither a file nor a directory", absolute));
}

Result<ModelRef> alias_ref(const ModelAlias& alias, const ModelSources& sources) {
  for (const std::string& packages : sources.site_packages) {
    const auto paths = matches(fmt::format("{}/{}/{}", packages, alias.python_package, alias.glob));
    if (paths.empty()) continue;
    auto model = path_ref(alias.name, paths.front());
    if (model) model->name = alias.name;
    return model;
  }
  return fail(Reason::ModelNotFound,
              fmt::format("the files of model '{}' are not on this machine", alias.name),
              "run scripts/setup, or install " + alias.install);
}

void read_alias(YamlMap& entry, ModelAlias& out) {
  entry.text("description", out.description);
  entry.text("format", out.format);
  entry.text("python_package", out.python_package);
  entry.text("glob", out.glob);
  entry.count("size_bytes", INT64_MAX, out.size_bytes);
  entry.text("license", out.license);
  entry.text("install", out.install);
  for (const char* key : {"format", "python_package", "glob"}) entry.require(key);
  for (const char* key : {"python_package", "glob"}) {
    const std::string& text = key[0] == 'g' ? out.glob : out.python_package;
    if (text.find("..") != std::string::npos)
      entry.error_at(key, fmt::format("'{}' must not leave its folder", key));
  }
}

}  // namespace

Result<std::vector<ModelAlias>> parse_aliases(std::string_view text, const std::string& file) {
  auto root = load_yaml(text, kMaxAliasFileBytes, file, Reason::EngineInvalid);
  if (!root) return fail(root.error());
  try {
    YamlMap map(*root, "the file", file, Reason::EngineInvalid);
    std::string version;
    std::string kind;
    map.text("apiVersion", version);
    map.text("kind", kind);
    if (version != "tweendeck/v1")
      map.error_at("apiVersion", fmt::format("unknown apiVersion '{}'", version), "use tweendeck/v1");
    if (kind != "Models") map.error_at("kind", fmt::format("unknown kind '{}'", kind), "use Models");
    for (const char* key : {"apiVersion", "kind", "models"}) map.require(key);
    const auto list = map.child("models");
    if (auto done = map.finish(); !done) return fail(done.error());
    std::vector<ModelAlias> aliases;
    if (!list->IsMap()) {
      map.error(*list, "'models' must be a map of names");
      return fail(map.finish().error());
    }
    for (const auto& item : *list) {
      ModelAlias alias;
      alias.name = item.first.IsScalar() ? item.first.Scalar() : "";
      YamlMap entry(item.second, fmt::format("model '{}'", alias.name), file, Reason::EngineInvalid);
      read_alias(entry, alias);
      if (auto done = entry.finish(); !done) return fail(done.error());
      aliases.push_back(std::move(alias));
    }
    return aliases;
  } catch (const YAML::Exception& error) {
    return fail(Reason::EngineInvalid, fmt::format("{}: {}", file, error.what()));
  }
}

Result<ModelRef> resolve_model(const std::string& reference, const ModelSources& sources) {
  if (reference.empty() || reference.size() > kMaxTextBytes || reference.find('\0') != std::string::npos) {
    return fail(Reason::ModelNotFound, "the model reference is empty or too long");
  }
  if (!is_name(reference)) return path_ref(reference, reference);
  const auto alias = std::ranges::find(sources.aliases, reference, &ModelAlias::name);
  if (alias != sources.aliases.end()) return alias_ref(*alias, sources);
  if (std::ranges::find(sources.simulated_names, reference) != sources.simulated_names.end()) {
    return ModelRef{reference, "name", "", reference, 0};
  }
  std::vector<std::string_view> known;
  for (const ModelAlias& each : sources.aliases) known.push_back(each.name);
  for (const std::string& name : sources.simulated_names) known.push_back(name);
  const std::string_view near = nearest(reference, known);
  return fail(Reason::ModelNotFound, fmt::format("no model is called '{}'", reference.substr(0, 200)),
              !near.empty()
                  ? fmt::format("did you mean '{}'?", near)
                  : fmt::format("known names: {}; for a file write its path with a /, for example ./{}",
                                fmt::join(known, ", "), reference.substr(0, 60)));
}

}  // namespace tweendeck::serving
