// What a model reference (`serve MODEL`) names: a GGUF file, a directory, an alias, or a simulated model's
// name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::serving {

struct ModelRef {
  std::string reference;  // as given
  std::string format;     // "gguf", "directory", "name"
  std::string path;       // absolute; "" for "name"
  std::string name;       // short name for requests: "smollm2", the file's stem, the directory's last part
  uint64_t bytes = 0;     // of the file or of the directory's files
  bool operator==(const ModelRef&) const = default;
};

// An alias of engine/models.yaml: a model file inside an installed Python package.
struct ModelAlias {
  std::string name;
  std::string description;
  std::string format;          // "gguf", "directory"
  std::string python_package;  // its folder in site-packages
  std::string glob;            // below that folder; the first match is the model
  uint64_t size_bytes = 0;     // 0 = not known
  std::string license;
  std::string install;  // how to get it
};

Result<std::vector<ModelAlias>> parse_aliases(std::string_view text, const std::string& file);

struct ModelSources {
  std::vector<ModelAlias> aliases;
  std::vector<std::string> simulated_names;  // of all engines
  std::vector<std::string> site_packages;
};

// Errors: ModelNotFound (with near names), ModelCorrupt (with what is wrong), PermissionDenied.
Result<ModelRef> resolve_model(const std::string& reference, const ModelSources& sources);

// Magic, version, counts, and that the file is as long as its header says. Reads the header only.
Status check_gguf(const std::string& path);
// The same on bytes: `head` is the start of a file of `file_bytes` bytes.
Status check_gguf_head(std::string_view head, uint64_t file_bytes, const std::string& path);

}  // namespace tweendeck::serving
