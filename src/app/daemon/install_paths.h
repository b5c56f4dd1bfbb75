// Where the programs, libraries and engine folders of this build are: beside the running program, or
// installed below the same prefix. Reads links and looks for files only.
#pragma once

#include <string>

#include "app/cli/command.h"
#include "base/result.h"

namespace tweendeck::daemon {

struct InstallPaths {
  std::string bin;      // tweendeck-shim, tweendeck-softgpu, tweendeck-sim
  std::string engines;  // engine folders
  std::string python;   // python3 of the engines' environment; "" when there is none
  std::string shim;
  std::string softgpu_tool;
  std::string softgpu_libraries;
  std::string vgpu_library;
};

// `engines` overrides the engine folder when not empty. TWEENDECK_PYTHON names another Python.
// Errors: NotFound when the engine folder or the shim is missing.
Result<InstallPaths> find_install_paths(const std::string& program, const std::string& engines,
                                        const cli::Environment& environment);

// The path of the running program.
Result<std::string> own_program();

}  // namespace tweendeck::daemon
