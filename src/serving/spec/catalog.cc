#include "serving/spec/catalog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/text.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// <venv>/bin/python3 -> every <venv>/lib/python*/site-packages. Nothing for an interpreter without an
// environment: its packages are found by the check of `installed` only when they lie in its prefix too.
std::vector<std::string> site_packages_of(const std::string& python) {
  std::vector<std::string> dirs;
  if (python.empty()) return dirs;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(fs::path(python).parent_path().parent_path() / "lib", error)) {
    const fs::path packages = entry.path() / "site-packages";
    if (entry.path().filename().string().starts_with("python") && fs::is_directory(packages, error)) {
      dirs.push_back(packages);
    }
  }
  std::ranges::sort(dirs);
  return dirs;
}

bool has_module(const std::vector<std::string>& site_packages, std::string module) {
  std::ranges::replace(module, '.', '/');
  return std::ranges::any_of(site_packages, [&](const std::string& dir) {
    std::error_code error;
    return fs::exists(dir + "/" + module, error) || fs::exists(dir + "/" + module + ".py", error);
  });
}

bool is_program(const std::string& path) {
  return access(path.c_str(), X_OK) == 0;
}

bool on_path(const std::string& program) {
  if (program.find('/') != std::string::npos) return is_program(program);
  const char* path = std::getenv("PATH");
  for (const std::string_view dir : split(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    if (is_program(fmt::format("{}/{}", dir, program))) return true;
  }
  return false;
}

template <class List, class T>
bool contains(const List& list, const T& item) {
  return std::ranges::find(list, item) != list.end();
}

bool serves_model(const EngineSpec& engine, const ModelRef& model) {
  return model.format == "name" ? contains(engine.model_names, model.name)
                                : contains(engine.formats, model.format);
}

// Whether the claim could be placed on a device that the engine can use.
bool serves_device(const EngineSpec& engine, const Claim& claim, const std::vector<Device>& devices) {
  return std::ranges::any_of(devices, [&](const Device& device) {
    const bool selected = claim.device_ids.empty() || contains(claim.device_ids, device.id) ||
                          contains(claim.device_ids, device.provider);
    return selected && contains(engine.devices, device.provider);
  });
}

std::string device_words(const Claim& claim, const std::vector<Device>& devices) {
  if (!claim.device_ids.empty()) return "device " + join(claim.device_ids, ", ");
  std::vector<std::string> ids;
  for (const Device& device : devices) ids.push_back(device.id);
  return ids.empty() ? "this machine: it has no device" : "this machine's devices (" + join(ids, ", ") + ")";
}

bool takes_adapters(const EngineSpec& engine, const DeploymentSpec& spec) {
  return spec.adapters.empty() || !engine.adapter_args.empty();
}

Error no_adapters(const EngineSpec& engine) {
  return {Reason::EngineCannotServe, fmt::format("engine {} takes no adapters", engine.name),
          "leave the adapters out; a further name for the same model is an alias"};
}

}  // namespace

Result<EngineCatalog> EngineCatalog::load(const std::string& engines_dir, const std::string& python,
                                          const std::string& bin_dir) {
  EngineCatalog catalog;
  catalog.python_ = python;
  catalog.bin_dir_ = bin_dir;
  catalog.models_.site_packages = site_packages_of(python);
  std::error_code error;
  const std::string root = fs::canonical(engines_dir, error);
  if (error) return fail(system_error(error.value(), "cannot read the engine folders in " + engines_dir));
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (fs::exists(entry.path() / "engine.yaml", error)) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  for (const std::string& folder : folders) {
    auto engine = load_engine(folder);
    if (engine) {
      std::ranges::copy(engine->model_names, std::back_inserter(catalog.models_.simulated_names));
      catalog.engines_.push_back(std::move(*engine));
    } else {
      catalog.broken_names_.emplace_back(fs::path(folder).filename(), engine.error());
      catalog.broken_.push_back(engine.error());
    }
  }
  if (const std::string file = root + "/models.yaml"; fs::exists(file, error)) {
    auto aliases = parse_aliases(read_all(file), file);
    if (!aliases) return fail(aliases.error());
    catalog.models_.aliases = std::move(*aliases);
  }
  return catalog;
}

Result<const EngineSpec*> EngineCatalog::find(const std::string& name) const {
  const auto found = std::ranges::find(engines_, name, &EngineSpec::name);
  if (found != engines_.end()) return &*found;
  const auto bad = std::ranges::find(broken_names_, name, &std::pair<std::string, Error>::first);
  if (bad != broken_names_.end()) return fail(bad->second);
  std::vector<std::string_view> known;
  for (const EngineSpec& engine : engines_) known.push_back(engine.name);
  const std::string_view near = nearest(name, known);
  return fail(Reason::EngineUnknown, fmt::format("no engine is called '{}'", name),
              near.empty() ? fmt::format("engines: {}", fmt::join(known, ", "))
                           : fmt::format("did you mean '{}'?", near));
}

Status EngineCatalog::installed(const EngineSpec& engine) const {
  std::vector<std::string> missing;
  const bool needs_python = !engine.needs.python.empty() || engine.command.front() == "{python}";
  if (needs_python && !is_program(python_)) {
    missing.push_back(python_.empty() ? "a Python environment" : "the Python " + python_);
  } else {
    for (const std::string& module : engine.needs.python) {
      if (!has_module(models_.site_packages, module)) missing.push_back("Python module " + module);
    }
  }
  const Placeholders values{{"python", python_}, {"engine", engine.folder}, {"bin", bin_dir_}};
  for (const std::string& program : engine.needs.programs) {
    const std::string path = expand(program, values);
    if (!on_path(path)) missing.push_back("program " + path);
  }
  if (missing.empty()) return {};
  return fail(Reason::EngineNotInstalled, fmt::format("engine {} lacks {}", engine.name, join(missing, ", ")),
              engine.needs.hint);
}

Result<const EngineSpec*> EngineCatalog::choose(const DeploymentSpec& spec, const ModelRef& model,
                                                const std::vector<Device>& devices) const {
  const std::string kind =
      model.format == "name" ? "simulated model " + model.name : model.format + " models";
  if (!spec.engine.empty()) {
    auto engine = find(spec.engine);
    if (!engine) return engine;
    if (!serves_model(**engine, model)) {
      return fail(Reason::EngineCannotServe, fmt::format("engine {} does not serve {}", spec.engine, kind),
                  "leave the engine out to have one chosen");
    }
    if (!serves_device(**engine, spec.claim, devices)) {
      return fail(Reason::EngineCannotServe,
                  fmt::format("engine {} runs on {} devices, not on {}", spec.engine,
                              join((*engine)->devices, " or "), device_words(spec.claim, devices)));
    }
    if (!takes_adapters(**engine, spec)) return fail(no_adapters(**engine));
    if (auto there = installed(**engine); !there) return fail(there.error());
    return engine;
  }
  Error problem{Reason::EngineCannotServe,
                fmt::format("no engine serves {} on {}", kind, device_words(spec.claim, devices)),
                "see `tweendeck doctor` for the engines and what they need"};
  for (const EngineSpec& engine : engines_) {
    if (!serves_model(engine, model)) continue;
    if (!serves_device(engine, spec.claim, devices)) {
      if (problem.reason == Reason::EngineCannotServe) {
        problem.hint = fmt::format(
            "engine {} could, on {} devices{}", engine.name, join(engine.devices, " or "),
            contains(engine.devices, std::string("soft")) ? ", for example with up --soft-gpus 1:A10" : "");
      }
      continue;
    }
    if (!takes_adapters(engine, spec)) {
      if (problem.reason == Reason::EngineCannotServe) problem = no_adapters(engine);
      continue;
    }
    if (auto there = installed(engine); there)
      return &engine;
    else
      problem = there.error();
  }
  return fail(problem);
}

}  // namespace tweendeck::serving
