#include "app/daemon/install_paths.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

namespace tweendeck::daemon {
namespace {

namespace fs = std::filesystem;

// The first that exists, or "".
std::string first_of(const std::vector<fs::path>& candidates) {
  std::error_code ignored;
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate, ignored)) return candidate.lexically_normal().string();
  }
  return "";
}

}  // namespace

Result<std::string> own_program() {
  std::error_code error;
  fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) return fail(system_error(error.value(), "cannot find the running program"));
  return path.string();
}

Result<InstallPaths> find_install_paths(const std::string& program, const std::string& engines,
                                        const cli::Environment& environment) {
  // <repository>/build/<preset>/tweendeck, or <prefix>/bin/tweendeck.
  fs::path here = fs::path(program).parent_path();
  fs::path repository = here / ".." / "..";
  fs::path share = here / ".." / "share" / "tweendeck";
  InstallPaths paths;
  paths.bin = first_of({here / "bin", here});
  paths.shim = first_of({fs::path(paths.bin) / "tweendeck-shim"});
  paths.softgpu_tool = (fs::path(paths.bin) / "tweendeck-softgpu").string();
  std::string lib = first_of({here / "lib", here / ".." / "lib" / "tweendeck"});
  paths.softgpu_libraries = (fs::path(lib) / "softgpu").string();
  paths.vgpu_library = (fs::path(lib) / "libtweendeck-vgpu.so").string();
  std::error_code ignored;
  paths.engines = engines.empty() ? first_of({repository / "engine", share / "engine"})
                                  : first_of({fs::absolute(engines, ignored)});
  std::string python = environment("TWEENDECK_PYTHON").value_or("");
  paths.python =
      python.empty()
          ? first_of({repository / ".venv" / "bin" / "python3", share / "venv" / "bin" / "python3"})
          : fs::absolute(python, ignored).string();
  if (paths.engines.empty()) {
    return fail(Reason::NotFound,
                engines.empty() ? fmt::format("no folder with engines beside {}", program)
                                : fmt::format("the engine folder {} does not exist", engines),
                "name one with --engine-dir DIR");
  }
  if (paths.shim.empty()) {
    return fail(Reason::NotFound, fmt::format("tweendeck-shim is not in {}", (here / "bin").string()),
                "build everything: make build");
  }
  return paths;
}

}  // namespace tweendeck::daemon
