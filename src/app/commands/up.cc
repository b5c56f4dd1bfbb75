#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/client/state_dir.h"
#include "app/commands/commands.h"
#include "app/commands/daemon_loop.h"
#include "app/commands/detach.h"
#include "base/log.h"
#include "net/json.h"
#include "net/listener.h"

namespace tweendeck::commands {
namespace {

constexpr Nanos kHandOverMargin = 60 * kSecond;

Result<daemon::DaemonConfig> config_of(const cli::Invocation& in) {
  daemon::DaemonConfig config;
  Result<std::string> state = client::state_dir_of(in);
  if (!state) return fail(state.error());
  config.state_dir = std::move(*state);
  Result<net::Address> listen = net::parse_address(in.text("listen"));
  if (!listen) return fail(listen.error());
  config.gateway.listen = *listen;
  config.gateway.api_keys_file = in.text("api-keys");
  config.gateway.cert_file = in.text("cert");
  config.gateway.key_file = in.text("key");
  if (config.gateway.cert_file.empty() != config.gateway.key_file.empty()) {
    return fail(Reason::InvalidArgument, "--cert and --key belong together",
                "give both, or neither for plain HTTP");
  }
  config.gateway.queue_timeout = in.duration("queue-timeout");
  config.gateway.head_timeout = in.duration("head-timeout");
  config.gateway.body_timeout = in.duration("body-timeout");
  routing::parse_policy(in.text("policy"), config.router.policy);
  config.version = TWEENDECK_VERSION;
  config.soft_gpus = in.text("soft-gpus");
  config.engines = in.text("engine-dir");
  config.drain = in.duration("drain");
  daemon::parse_tamper_policy(in.text("on-tampering"), config.on_tampering);
  config.environment = client::process_environment;
  return config;
}

Status configure_log(const cli::Invocation& in) {
  Result<log::Level> level = log::parse_level(in.text("log-level"));
  if (!level) return fail(level.error());
  log::configure(*level, in.text("log-format") == "json" ? log::Format::Json : log::Format::Text);
  return {};
}

void tell_next(const std::string& summary, cli::Output& output) {
  if (output.json) {
    net::JsonWriter w;
    w.object().field("summary", summary).end();
    output.line(w.text());
    return;
  }
  output.note(
      fmt::format("tweendeck is up: {}\n"
                  "  serve a model:  tweendeck serve smollm2 --replicas 2 --memory 1Gi --compute 40\n"
                  "  stop it all:    tweendeck down",
                  summary));
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<daemon::DaemonConfig> config = config_of(in);
  if (!config) return fail(config.error());
  if (Status logging = configure_log(in); !logging) return fail(logging.error());
  if (in.on("replace")) {
    if (Status handed = hand_over(*config, config->drain + kHandOverMargin); !handed)
      return fail(handed.error());
  }
  block_daemon_signals();
  signal(SIGHUP, SIG_IGN);
  if (!in.on("detach")) {
    Status ended = run_daemon(*config, [&](const std::string& summary) {
      tell_next(summary, output);
      output.flush();
    });
    if (!ended) return fail(ended.error());
    return 0;
  }
  Result<std::string> summary = run_detached(config->state_dir + "/daemon.log", [&](ReadyPipe& pipe) {
    Status ended = run_daemon(*config, [&](const std::string& offers) { pipe.ready(offers); });
    if (ended) return 0;
    log::error("Ended", {{"reason", ended.error().reason}, {"detail", ended.error().message}});
    pipe.failed(ended.error());
    return static_cast<int>(exit_code(ended.error().reason));
  });
  if (!summary) return fail(summary.error());
  tell_next(*summary, output);
  return 0;
}

}  // namespace

cli::Command up_command() {
  using cli::FlagKind;
  return {.name = "up",
          .group = kGroupDaemon,
          .summary = "Run the daemon: devices, slices, replicas, gateway",
          .about =
              "Model servers outlive it: after a restart, an upgrade or a crash it finds them again. SIGTERM "
              "and Ctrl-C end the\n"
              "daemon only (a second one at once); `tweendeck down` ends everything.",
          .flags = {{.name = "detach",
                     .help = "run in the background; returns when it is ready (log: DIR/daemon.log)"},
                    {.name = "listen",
                     .kind = FlagKind::Text,
                     .value = "ADDR:PORT",
                     .fallback = "127.0.0.1:8080",
                     .help = "where the gateway listens; not only loopback needs --api-keys",
                     .env = "TWEENDECK_LISTEN"},
                    {.name = "soft-gpus",
                     .kind = FlagKind::Text,
                     .value = "N:MODEL",
                     .help = "software GPUs (simulated), for example 2:H100-80G; remembered until `none`"},
                    {.name = "policy",
                     .kind = FlagKind::Choice,
                     .fallback = "prefix",
                     .help = "how requests find their replica",
                     .choices = {"prefix", "round-robin", "least-requests"}},
                    {.name = "api-keys",
                     .kind = FlagKind::Text,
                     .value = "FILE",
                     .help = "accepted API keys, one per line",
                     .complete = cli::Complete::File},
                    {.name = "cert",
                     .kind = FlagKind::Text,
                     .value = "FILE",
                     .help = "TLS certificate chain (PEM)",
                     .complete = cli::Complete::File},
                    {.name = "key",
                     .kind = FlagKind::Text,
                     .value = "FILE",
                     .help = "TLS private key (PEM)",
                     .complete = cli::Complete::File},
                    {.name = "on-tampering",
                     .kind = FlagKind::Choice,
                     .fallback = "report",
                     .help = "what to do about processes that get around the limits of their slice",
                     .choices = {"report", "throttle", "stop"}},
                    {.name = "drain",
                     .kind = FlagKind::Duration,
                     .fallback = "30s",
                     .help = "how long running requests may take when something ends"},
                    {.name = "queue-timeout",
                     .kind = FlagKind::Duration,
                     .fallback = "60s",
                     .help = "a request's longest wait for a replica"},
                    {.name = "head-timeout",
                     .kind = FlagKind::Duration,
                     .fallback = "10s",
                     .help = "how long a client may take to send a request's headers"},
                    {.name = "body-timeout",
                     .kind = FlagKind::Duration,
                     .fallback = "30s",
                     .help = "how long for its body, plus one second for each 16 KiB of it"},
                    {.name = "engine-dir",
                     .kind = FlagKind::Text,
                     .value = "DIR",
                     .help = "engine folders to use instead of the shipped ones",
                     .complete = cli::Complete::Directory},
                    {.name = "replace",
                     .help = "take over from the running daemon without touching its replicas"},
                    {.name = "log-level",
                     .kind = FlagKind::Choice,
                     .value = "LEVEL",
                     .fallback = "info",
                     .help = "what is logged on stderr",
                     .choices = {"debug", "info", "warning", "error"}},
                    {.name = "log-format",
                     .kind = FlagKind::Choice,
                     .value = "FORMAT",
                     .fallback = "text",
                     .help = "how",
                     .choices = {"text", "json"}}},
          .examples = {{"up --detach", "in the background"},
                       {"up --soft-gpus 2:H100-80G", "with two simulated GPUs beside the CPU"},
                       {"up --replace --detach", "after an upgrade: the new binary takes over"}},
          .exit_note = "6 when another daemon owns the state or the address is taken",
          .run = run};
}

}  // namespace tweendeck::commands
