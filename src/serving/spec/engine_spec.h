// An engine folder: a model server as data (engine/<name>/engine.yaml). Adding one needs no C++.
//
// load_engine() is strict: unknown keys, wrong types and values out of range are EngineInvalid with file,
// line and, where one is near, the key that was meant. Pure apart from reading the file.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::serving {

inline constexpr size_t kMaxEngineFileBytes = 64 * 1024;

struct EngineSpec {
  std::string name;
  std::string folder;  // absolute path
  std::string description;
  bool simulated = false;

  struct Requires {
    std::vector<std::string> python;    // modules that must be importable
    std::vector<std::string> programs;  // paths (placeholders allowed) or names on PATH
    std::string hint;                   // how to install them
    bool operator==(const Requires&) const = default;
  } needs;

  std::vector<std::string> formats;      // "gguf", "directory"
  std::vector<std::string> model_names;  // simulated models it brings itself
  std::vector<std::string> devices;      // providers: "cpu", "soft", "nvidia"

  std::vector<std::string> command;        // with placeholders
  std::map<std::string, std::string> env;  // with placeholders
  std::vector<std::string>
      adapter_args;  // appended to command for each adapter; also {adapter}. Empty = takes none

  std::string ready_path = "/health";
  Nanos ready_timeout = 120 * kSecond;
  std::string health_path = "/health";
  Nanos health_interval = 5 * kSecond;
  Nanos health_timeout = 2 * kSecond;
  uint32_t health_failures = 3;

  std::string metrics_path;  // "" = none
  std::string metric_running;
  std::string metric_waiting;
  std::string metric_kv_cache_usage;

  std::vector<std::string> abilities;
  int stop_signal = 15;
  Nanos stop_grace = 10 * kSecond;

  bool operator==(const EngineSpec&) const = default;
};

// `text` is the content of `folder`/engine.yaml; `name` must equal the folder's own name.
Result<EngineSpec> parse_engine(std::string_view text, const std::string& folder);
Result<EngineSpec> load_engine(const std::string& folder);

// Replaces {python} {engine} {model} {model_name} {host} {port} {bin} (and {adapter} in adapter_args) in
// `text`. A brace that starts no known placeholder stays as it is, so that JSON in an argument needs no
// escape.
using Placeholders = std::map<std::string, std::string, std::less<>>;
std::string expand(std::string_view text, const Placeholders& values);

}  // namespace tweendeck::serving
