#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>

#include "app/cli/terminal.h"
#include "app/client/guest.h"
#include "app/client/local_api.h"
#include "app/client/slice_lease.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

constexpr int kNameTries = 8;
constexpr std::string_view kGpuProviders[] = {"nvidia", "soft"};

// "exec-1a2b3c4d": short enough to type, rare enough to be free.
std::string fresh_name() {
  return fmt::format("exec-{:08x}", std::random_device()());
}

Result<client::SliceLease> take_lease(const std::string& state_dir, const std::string& given,
                                      std::string& name) {
  for (int i = 0;; ++i) {
    name = given.empty() ? fresh_name() : given;
    Result<client::SliceLease> lease = client::SliceLease::take(state_dir, name);
    if (lease || !given.empty() || lease.error().reason != Reason::AlreadyExists || i == kNameTries)
      return lease;
  }
}

std::string request_body(const cli::Invocation& in, const std::string& name) {
  net::JsonWriter w;
  w.object()
      .field("id", name)
      .field("memory_bytes", in.bytes("memory"))
      .field("compute_percent", in.count("compute"));
  if (in.is_set("compute-max")) w.field("ceiling_percent", in.count("compute-max"));
  if (in.is_set("weight")) w.field("weight", in.count("weight"));
  if (in.is_set("priority")) w.field("priority", in.integer("priority"));
  if (in.is_set("memory-wait")) w.field("memory_wait_ms", in.duration("memory-wait") / kMillisecond);
  w.array("devices");
  const std::vector<std::string> given = in.list("device");
  for (const std::string& device : given) w.value(device);
  for (const std::string_view provider : kGpuProviders) {
    if (given.empty()) w.value(provider);
  }
  w.end().end();
  return w.take();
}

// The program runs beside the daemon, without the sandbox that the grant's paths may be meant for.
client::Guest guest_of(const net::JsonValue& grant, const std::vector<std::string>& words) {
  client::Guest guest;
  guest.words = words;
  std::map<std::string, std::string, std::less<>> sources;
  for (const net::JsonValue& mount : grant["mounts"].items())
    sources[text_of(mount, "target")] = text_of(mount, "source");
  for (const net::JsonValue& variable : grant["env"].items()) {
    std::string value = text_of(variable, "value");
    if (const auto shown = sources.find(value); shown != sources.end()) value = shown->second;
    guest.env.emplace_back(text_of(variable, "name"), std::move(value));
  }
  for (const net::JsonValue& file : grant["cgroup_procs"].items())
    guest.cgroup_procs.emplace_back(file.text_or(""));
  return guest;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  std::string name;
  // Before the daemon is asked: it gives a slice back as soon as nobody holds its lease.
  Result<client::SliceLease> lease = take_lease(api->state_dir(), in.text("name"), name);
  if (!lease && lease.error().reason == Reason::NotFound)
    return fail(client::explain_unreachable(api->state_dir(),
                                            {Reason::DaemonUnreachable, lease.error().message, ""}));
  if (!lease) return fail(lease.error());
  Result<client::ApiAnswer> grant = api->call("POST", "/v1/slices", request_body(in, name));
  if (!grant) return fail(grant.error());
  const net::JsonValue& slice = grant->json["slice"];
  if (!in.on("quiet")) {
    output.note(
        fmt::format("slice {}: {} of {}{}, isolation {}", name, show_share(slice), text_of(slice, "device"),
                    grant->json["simulated"].bool_or(false) ? " (simulated)" : "", show_isolation(slice)));
  }
  Result<client::GuestEnd> end = client::run_guest(guest_of(grant->json, in.args()));
  if (end && end->not_started) output.error(*end->not_started);
  // A daemon that is gone, or that has taken the slice back already, changes nothing for the program's
  // result.
  Result<client::ApiAnswer> released = api->call("DELETE", "/v1/slices/" + net::url_encode(name));
  if (!released && released.error().reason != Reason::DaemonUnreachable)
    output.note(fmt::format("the slice was not given back: {}", released.error().message));
  if (!end) return fail(end.error());
  return end->code;
}

}  // namespace

cli::Command exec_command() {
  cli::Command command{
      .name = "exec",
      .group = kGroupServe,
      .summary = "Run any CUDA program inside a slice of a GPU of this machine",
      .about =
          "The daemon makes the slice; it is given back when the program ends or this command is killed, "
          "which "
          "ends the program.\nWhen the daemon is killed, the program goes on within its limits and the next "
          "daemon takes the slice over.\nSignals go to the program and its exit code comes back.",
      .args = {{.name = "PROGRAM",
                .help = "the program and its arguments; what follows it is not read as flags",
                .rest = true,
                .verbatim = true}},
      .flags = {{.name = "memory", .kind = cli::FlagKind::Bytes, .fallback = "1Gi", .help = "device memory"},
                {.name = "compute",
                 .kind = cli::FlagKind::Count,
                 .value = "PERCENT",
                 .fallback = "30",
                 .help = "share of the device's compute that is its own",
                 .min = 1,
                 .max = 100},
                {.name = "device",
                 .kind = cli::FlagKind::List,
                 .help = "devices or providers to choose from; without it any GPU",
                 .complete = cli::Complete::Device},
                {.name = "name", .kind = cli::FlagKind::Text, .help = "the slice's name; made up without it"},
                {.name = "quiet", .letter = 'q', .help = "do not tell which slice it is"}},
      .examples = {{"exec --memory 4Gi --compute 30 -- python3 train.py", "a program in 30 % of a GPU"},
                   {"exec --device soft0 --compute 20 --compute-max 100 -- ./bench",
                    "borrowing what others leave idle"}},
      .exit_note =
          "the program's own; 128 + N when signal N ended it, 126 when it cannot be run, 127 when it is not "
          "found",
      .run = run};
  for (cli::Flag& flag : tuning_flags()) command.flags.push_back(flag);
  return command;
}

}  // namespace tweendeck::commands
