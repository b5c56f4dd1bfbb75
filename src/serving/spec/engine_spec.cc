#include "serving/spec/engine_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/text.h"
#include "serving/spec/yaml_reader.h"

namespace tweendeck::serving {
namespace {

constexpr Reason kInvalid = Reason::EngineInvalid;
constexpr uint64_t kMaxTimeoutS = 24 * 3600;
constexpr uint64_t kMaxFailures = 1000;
constexpr size_t kMaxListItems = 256;

constexpr std::array<std::string_view, 2> kFormats = {"gguf", "directory"};
constexpr std::array<std::string_view, 3> kDevices = {"cpu", "soft", "nvidia"};
constexpr std::array<std::string_view, 5> kAbilities = {"chat", "completions", "embeddings", "streaming",
                                                        "lora"};
constexpr std::array<std::pair<std::string_view, int>, 4> kSignals = {
    {{"TERM", SIGTERM}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"KILL", SIGKILL}}};

class EngineReader {
 public:
  EngineReader(const YAML::Node& root, std::string file)
      : file_(std::move(file)), map_(root, "an engine", file_, kInvalid) {}

  Result<EngineSpec> read(const std::string& folder) {
    header(folder);
    requirements();
    models();
    known_words(map_, "devices", out_.devices, kDevices);
    known_words(map_, "abilities", out_.abilities, kAbilities);
    start();
    checks();
    metrics();
    stop();
    for (const char* key : {"apiVersion", "kind", "name", "devices", "command"}) map_.require(key);
    if (auto done = map_.finish(); !done) return fail(done.error());
    return std::move(out_);
  }

 private:
  void header(const std::string& folder) {
    std::string version = "tweendeck/v1";
    std::string kind = "Engine";
    map_.text("apiVersion", version);
    map_.text("kind", kind);
    map_.text("name", out_.name);
    map_.text("description", out_.description);
    map_.flag("simulated", out_.simulated);
    if (version != "tweendeck/v1")
      map_.error_at("apiVersion", fmt::format("unknown apiVersion '{}'", version), "use tweendeck/v1");
    if (kind != "Engine") map_.error_at("kind", fmt::format("unknown kind '{}'", kind), "use Engine");
    out_.folder = folder;
    const std::string last = std::filesystem::path(folder).filename();
    if (map_.has("name") && out_.name != last) {
      map_.error_at("name",
                    fmt::format("the engine's name '{}' differs from its folder's '{}'", out_.name, last));
    }
  }

  void requirements() {
    const auto node = map_.child("requires");
    if (!node) return;
    YamlMap map(*node, "'requires'", file_, kInvalid);
    texts(map, "python", out_.needs.python);
    texts(map, "programs", out_.needs.programs);
    map.text("hint", out_.needs.hint);
    map_.absorb(map.finish());
  }

  void models() {
    const auto node = map_.child("models");
    if (!node) return;
    YamlMap map(*node, "'models'", file_, kInvalid);
    known_words(map, "formats", out_.formats, kFormats);
    texts(map, "names", out_.model_names);
    map_.absorb(map.finish());
  }

  void start() {
    texts(map_, "command", out_.command);
    if (map_.has("command") && (out_.command.empty() || out_.command.front().empty())) {
      map_.error_at("command", "'command' is empty");
    }
    texts(map_, "adapter_args", out_.adapter_args);
    const bool named = std::ranges::any_of(out_.adapter_args,
                                           [](const std::string& arg) { return arg.contains("{adapter}"); });
    if (!out_.adapter_args.empty() && !named) {
      map_.error_at("adapter_args", "'adapter_args' names no adapter", "use the placeholder {adapter}");
    }
    for (auto& [key, value] : map_.pairs("env")) {
      if (key.empty() || key.find('=') != std::string::npos || key.find('\0') != std::string::npos) {
        map_.error_at("env", fmt::format("'{}' is no name of an environment variable", key));
      }
      out_.env[key] = std::move(value);
    }
  }

  void checks() {
    if (const auto node = map_.child("ready")) {
      YamlMap map(*node, "'ready'", file_, kInvalid);
      path(map, "path", out_.ready_path);
      seconds(map, "timeout_s", out_.ready_timeout);
      map_.absorb(map.finish());
    }
    if (const auto node = map_.child("health")) {
      YamlMap map(*node, "'health'", file_, kInvalid);
      path(map, "path", out_.health_path);
      seconds(map, "interval_s", out_.health_interval);
      seconds(map, "timeout_s", out_.health_timeout);
      uint64_t failures = out_.health_failures;
      map.count("failures", kMaxFailures, failures);
      if (failures == 0) map.error_at("failures", "'failures' must be at least 1");
      out_.health_failures = static_cast<uint32_t>(failures);
      map_.absorb(map.finish());
    }
  }

  void metrics() {
    const auto node = map_.child("metrics");
    if (!node) return;
    YamlMap map(*node, "'metrics'", file_, kInvalid);
    path(map, "path", out_.metrics_path);
    map.text("running", out_.metric_running);
    map.text("waiting", out_.metric_waiting);
    map.text("kv_cache_usage", out_.metric_kv_cache_usage);
    map_.absorb(map.finish());
  }

  void stop() {
    const auto node = map_.child("stop");
    if (!node) return;
    YamlMap map(*node, "'stop'", file_, kInvalid);
    std::string name = "TERM";
    map.text("signal", name);
    if (name.starts_with("SIG")) name.erase(0, 3);
    const auto found = std::ranges::find(kSignals, name, &std::pair<std::string_view, int>::first);
    if (found == kSignals.end()) {
      map.error_at("signal", fmt::format("unknown signal '{}'", name), "use TERM, INT, QUIT or KILL");
    } else {
      out_.stop_signal = found->second;
    }
    seconds(map, "grace_s", out_.stop_grace);
    map_.absorb(map.finish());
  }

  static void texts(YamlMap& map, const char* key, std::vector<std::string>& out) {
    map.texts(key, out);
    if (out.size() > kMaxListItems)
      map.error_at(key, fmt::format("'{}' has more than {} items", key, kMaxListItems));
    for (const std::string& item : out) {
      if (item.find('\0') != std::string::npos) map.error_at(key, fmt::format("'{}' holds a zero byte", key));
    }
  }

  template <size_t N>
  static void known_words(YamlMap& map, const char* key, std::vector<std::string>& out,
                          const std::array<std::string_view, N>& known) {
    texts(map, key, out);
    for (const std::string& word : out) {
      if (std::ranges::find(known, word) != known.end()) continue;
      map.error_at(key, fmt::format("'{}' cannot be '{}'", key, word),
                   fmt::format("one of {}", fmt::join(known, ", ")));
    }
  }

  static void path(YamlMap& map, const char* key, std::string& out) {
    map.text(key, out);
    const bool bad =
        !map.has(key) ? false : !out.starts_with('/') || out.find_first_of(" \t\r\n") != std::string::npos;
    if (bad) map.error_at(key, fmt::format("'{}' must be a URL path that starts with /", key));
  }

  static void seconds(YamlMap& map, const char* key, Nanos& out) {
    uint64_t number = 0;
    map.count(key, kMaxTimeoutS, number);
    if (!map.has(key)) return;
    if (number == 0) map.error_at(key, fmt::format("'{}' must be at least 1", key));
    out = static_cast<Nanos>(number) * kSecond;
  }

  std::string file_;
  YamlMap map_;
  EngineSpec out_;
};

}  // namespace

Result<EngineSpec> parse_engine(std::string_view text, const std::string& folder) {
  const std::string file = folder + "/engine.yaml";
  auto root = load_yaml(text, kMaxEngineFileBytes, file, kInvalid);
  if (!root) return fail(root.error());
  try {
    return EngineReader(*root, file).read(folder);
  } catch (const YAML::Exception& error) {
    return fail(kInvalid, fmt::format("{}: {}", file, error.what()));
  }
}

Result<EngineSpec> load_engine(const std::string& folder) {
  const std::string file = folder + "/engine.yaml";
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(Reason::EngineInvalid, "cannot read " + file);
  std::string text(kMaxEngineFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return parse_engine(text, folder);
}

std::string expand(std::string_view text, const Placeholders& values) {
  std::string out;
  while (!text.empty()) {
    const size_t open = text.find('{');
    out.append(text.substr(0, open));
    if (open == std::string_view::npos) break;
    text.remove_prefix(open);
    const size_t close = text.find('}');
    const auto value =
        close == std::string_view::npos ? values.end() : values.find(text.substr(1, close - 1));
    if (value == values.end()) {
      out += '{';
      text.remove_prefix(1);
    } else {
      out += value->second;
      text.remove_prefix(close + 1);
    }
  }
  return out;
}

}  // namespace tweendeck::serving
