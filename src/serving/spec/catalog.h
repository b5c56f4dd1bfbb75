// All engine folders and model aliases, and which engine serves which model where. Read once; immutable
// afterwards, so safe from any thread. installed() looks at the machine anew with each call.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "serving/spec/engine_spec.h"
#include "serving/spec/model_ref.h"
#include "serving/types.h"

namespace tweendeck::serving {

class EngineCatalog {
 public:
  // Every sub-folder of `engines_dir` with an engine.yaml, and engines_dir/models.yaml. A broken engine does
  // not hide the others: it is kept in broken() and its name answers with its error.
  static Result<EngineCatalog> load(const std::string& engines_dir, const std::string& python,
                                    const std::string& bin_dir);

  const std::vector<EngineSpec>& engines() const { return engines_; }
  const std::vector<Error>& broken() const { return broken_; }
  const ModelSources& models() const { return models_; }
  const std::string& python() const { return python_; }
  const std::string& bin_dir() const { return bin_dir_; }

  Result<const EngineSpec*> find(const std::string& name) const;  // EngineUnknown, EngineInvalid
  Status installed(const EngineSpec& engine) const;               // EngineNotInstalled with what is missing

  // The engine for `spec` among `devices`: the one it names, else the first installed that knows the model's
  // format and one of the claim's devices. Errors: EngineUnknown, EngineCannotServe, EngineNotInstalled.
  Result<const EngineSpec*> choose(const DeploymentSpec& spec, const ModelRef& model,
                                   const std::vector<Device>& devices) const;

 private:
  std::vector<EngineSpec> engines_;
  std::vector<std::pair<std::string, Error>> broken_names_;
  std::vector<Error> broken_;
  ModelSources models_;
  std::string python_;
  std::string bin_dir_;
};

}  // namespace tweendeck::serving
