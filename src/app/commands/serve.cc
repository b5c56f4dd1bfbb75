#include <fmt/format.h>

#include <filesystem>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/serve_spec.h"
#include "app/commands/show.h"
#include "app/commands/wait_ready.h"
#include "base/text.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::commands {
namespace {

Result<serving::DeploymentSpec> spec_of(const cli::Invocation& in) {
  serving::DeploymentSpec spec;
  std::error_code ignored;
  spec.model = absolute_model(in.arg(0), std::filesystem::current_path(ignored).string());
  spec.name = in.text("name");
  if (spec.name.empty()) {
    Result<std::string> name = name_from_model(in.arg(0));
    if (!name) return fail(name.error());
    spec.name = std::move(*name);
  }
  spec.engine = in.text("engine");
  spec.replicas = static_cast<uint32_t>(in.count("replicas"));
  spec.claim.name = spec.name;
  spec.claim.share.memory_bytes = in.bytes("memory");
  spec.claim.share.compute_percent = static_cast<uint32_t>(in.count("compute"));
  spec.claim.share.priority = static_cast<int32_t>(in.integer("priority"));
  spec.claim.device_ids = in.list("device");
  spec.claim.model = in.text("device-model");
  spec.claim.vendor = in.text("vendor");
  parse_isolation(in.text("isolation"), spec.claim.min_isolation);
  spec.claim.spread = in.text("place") == "pack" ? Spread::Pack : Spread::Spread;
  spec.claim.distinct_devices = in.on("distinct-devices");
  spec.model_aliases = in.list("alias");
  spec.adapters = in.list("adapter");
  spec.max_in_flight = static_cast<uint32_t>(in.count("max-in-flight"));
  spec.engine_args = in.each("engine-arg");
  return spec;
}

void tell_next(const std::string& name, const std::string& applied, cli::Output& output) {
  output.note(
      fmt::format("{} is ready ({}).\n"
                  "  ask it:    tweendeck run {} \"...\"\n"
                  "  watch it:  tweendeck top",
                  name, applied, name));
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<serving::DeploymentSpec> spec = spec_of(in);
  if (!spec) return fail(spec.error());
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->call("POST", "/v1/apply", apply_body({*spec}));
  if (!answer) return fail(answer.error());
  if (!in.on("no-wait")) {
    if (Status ready = wait_ready(*api, {spec->name}, in.duration("timeout"), output); !ready)
      return fail(ready.error());
  }
  if (output.json) {
    Result<client::ApiAnswer> deployment = api->get("/v1/deployments/" + net::url_encode(spec->name));
    if (!deployment) return fail(deployment.error());
    output.line(deployment->text);
    return 0;
  }
  std::string applied = text_of(
      answer->json["deployments"].items().empty() ? net::JsonValue() : answer->json["deployments"].items()[0],
      "result");
  if (spec->replicas == 0)
    output.note(fmt::format("{} is {} with no replicas; `tweendeck scale {} 1` starts one", spec->name,
                            applied, spec->name));
  else if (in.on("no-wait"))
    output.note(
        fmt::format("{} is {}; `tweendeck why {}` tells how it stands", spec->name, applied, spec->name));
  else
    tell_next(spec->name, applied, output);
  return 0;
}

}  // namespace

cli::Command serve_command() {
  using cli::FlagKind;
  return {.name = "serve",
          .group = kGroupServe,
          .summary = "Serve a model: replicas of a model server, each in a slice of a device",
          .about =
              "MODEL is a GGUF file, a directory, an alias such as smollm2, or a simulated model (sim-8b, "
              "sim-3b).\n"
              "Serving the same name again changes it. Waits until every replica is ready.",
          .args = {{.name = "MODEL", .help = "what to serve", .complete = cli::Complete::Model}},
          .flags = {{.name = "name",
                     .kind = FlagKind::Text,
                     .value = "NAME",
                     .help = "name of the deployment, and the model name of requests (default: from MODEL)"},
                    {.name = "replicas",
                     .letter = 'n',
                     .kind = FlagKind::Count,
                     .fallback = "1",
                     .help = "how many model servers",
                     .max = 256},
                    {.name = "memory",
                     .letter = 'm',
                     .kind = FlagKind::Bytes,
                     .fallback = serving::kDefaultMemory,
                     .help = "device memory of each slice"},
                    {.name = "compute",
                     .letter = 'c',
                     .kind = FlagKind::Count,
                     .value = "PERCENT",
                     .fallback = serving::kDefaultComputePercent,
                     .help = "share of the device's compute",
                     .min = 1,
                     .max = 100},
                    {.name = "device",
                     .letter = 'd',
                     .kind = FlagKind::List,
                     .value = "ID",
                     .help = "only on these devices: ids (cpu0) or providers (cpu, nvidia, soft)",
                     .complete = cli::Complete::Device},
                    {.name = "device-model",
                     .kind = FlagKind::Text,
                     .help = "only on devices whose model contains this"},
                    {.name = "vendor", .kind = FlagKind::Text, .help = "only on devices of this vendor"},
                    {.name = "isolation",
                     .kind = FlagKind::Choice,
                     .value = "LEVEL",
                     .fallback = "none",
                     .help = "weakest isolation to accept",
                     .choices = {"none", "library", "driver", "kernel", "hardware"}},
                    {.name = "place",
                     .kind = FlagKind::Choice,
                     .value = "HOW",
                     .fallback = "spread",
                     .help = "spread over devices or pack them",
                     .choices = {"spread", "pack"}},
                    {.name = "distinct-devices", .help = "each replica on a device of its own"},
                    {.name = "priority",
                     .kind = FlagKind::Integer,
                     .fallback = "0",
                     .help = "higher goes first where slices compete, below 0 is possible",
                     .max = serving::kMaxPriority},
                    {.name = "engine",
                     .letter = 'e',
                     .kind = FlagKind::Text,
                     .value = "NAME",
                     .help = "model server to use (default: the first that can serve MODEL)"},
                    {.name = "engine-arg",
                     .kind = FlagKind::List,
                     .value = "ARG",
                     .help = "passed to the engine; can be repeated"},
                    {.name = "alias",
                     .kind = FlagKind::List,
                     .value = "NAME",
                     .help = "further model names that requests may use"},
                    {.name = "adapter",
                     .kind = FlagKind::List,
                     .value = "NAME",
                     .help = "LoRA adapters that the engine serves under names of their own"},
                    {.name = "max-in-flight",
                     .kind = FlagKind::Count,
                     .fallback = "0",
                     .help = "requests at once per replica; 0 = what the engine says",
                     .max = 100000},
                    {.name = "no-wait", .help = "return as soon as it is accepted"},
                    {.name = "timeout",
                     .kind = FlagKind::Duration,
                     .fallback = "180s",
                     .help = "how long to wait until ready"}},
          .examples = {{"serve smollm2 --replicas 2 --memory 1Gi --compute 40",
                        "a real model twice on this machine's CPU"},
                       {"serve ./model.gguf --name chat", "a model of your own"},
                       {"serve sim-8b --memory 40Gi --compute 50 --device soft",
                        "a simulated model on a software GPU"}},
          .exit_note = "5 when it does not fit or cannot be served, 124 when it was not ready in time",
          .run = run};
}

}  // namespace tweendeck::commands
