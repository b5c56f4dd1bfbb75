// Which C library a program is made for. The vgpu library, and NVIDIA's driver itself, are made for glibc, so a
// program of musl cannot run in a GPU slice. Reads files; safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "serving/spec/engine_spec.h"

namespace tweendeck::serving {

// True for an ELF program whose loader is musl's. False for all else, also for what cannot be read.
bool uses_musl(const std::string& program);

// Programs of the engine, as far as they are here, that cannot run in a GPU slice; none for an engine without GPUs.
std::vector<std::string> programs_of_musl(const EngineSpec& engine, const std::string& python,
                                          const std::string& bin_dir);

}  // namespace tweendeck::serving
