// What `serve` and `apply` send: model references that mean the same in the daemon's directory, and names.
#pragma once

#include <string>

#include "base/result.h"
#include "serving/types.h"

namespace tweendeck::commands {

// A path becomes absolute against `base_dir`; names stay. What looks like a path: it holds a slash or ends in
// .gguf.
std::string absolute_model(const std::string& reference, const std::string& base_dir);

// "Models/Big Model.Q4.gguf" -> "big-model-q4": a DNS label from a model reference. Errors: InvalidArgument
// when nothing is left.
Result<std::string> name_from_model(const std::string& reference);

// The body of POST /v1/apply.
std::string apply_body(const std::vector<serving::DeploymentSpec>& specs);

}  // namespace tweendeck::commands
