#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"
#include "base/log.h"
#include "base/text.h"
#include "base/units.h"
#include "routing/picker/endpoints_file.h"
#include "routing/picker/picker.h"
#include "routing/sources/metrics_scraper.h"

namespace tweendeck::commands {
namespace {

using routing::picker::Picker;
using routing::picker::PickerConfig;

constexpr timespec kFileTick = {.tv_sec = 0, .tv_nsec = 200'000'000};

// The metrics of a model server by llm-d's engine label; vLLM's are the default there, too.
const routing::sources::MetricNames* metric_names(const std::string& engine) {
  static const routing::sources::MetricNames vllm{"vllm:num_requests_running", "vllm:num_requests_waiting",
                                                  "vllm:kv_cache_usage_perc"};
  static const routing::sources::MetricNames sglang{"sglang:num_running_reqs", "sglang:num_queue_reqs",
                                                    "sglang:token_usage"};
  static const routing::sources::MetricNames trtllm{
      "trtllm_num_requests_running", "trtllm_num_requests_waiting", "trtllm_kv_cache_utilization"};
  static const routing::sources::MetricNames llamacpp{"llamacpp:requests_processing",
                                                      "llamacpp:requests_deferred", ""};
  if (engine.empty() || engine == "vllm") return &vllm;
  if (engine == "sglang") return &sglang;
  if (engine == "trtllm-serve") return &trtllm;
  if (engine == "llamacpp") return &llamacpp;
  return nullptr;
}

// The endpoints file, read again when it changes.
class EndpointsWatch {
 public:
  explicit EndpointsWatch(std::string file) : file_(std::move(file)) {}

  // The endpoints when the file is another one than last time. A file that is gone or broken is told once.
  std::optional<std::vector<Endpoint>> changed() {
    struct stat now{};
    if (::stat(file_.c_str(), &now) != 0) now = {};
    const Stamp stamp{now.st_ino, now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec};
    if (stamp == seen_) return std::nullopt;
    seen_ = stamp;
    Result<std::vector<Endpoint>> loaded = routing::picker::load_endpoints(file_);
    if (loaded) return std::move(*loaded);
    log::warning("Could not read the endpoints again; the earlier ones stay",
                 {{"reason", loaded.error().reason}, {"detail", loaded.error().message}});
    return std::nullopt;
  }
  Result<std::vector<Endpoint>> first() {
    Result<std::vector<Endpoint>> loaded = routing::picker::load_endpoints(file_);
    if (loaded) changed();
    return loaded;
  }

 private:
  using Stamp = std::tuple<uint64_t, int64_t, int64_t, int64_t>;
  std::string file_;
  Stamp seen_{};
};

class Scrapes {
 public:
  Scrapes(Picker& picker, Registry& registry)
      : scraper_(picker.loop(), registry, {},
                 [&picker](const std::string& id, const EndpointLoad& load) { picker.set_load(id, load); }) {}

  void start() { scraper_.start(); }
  void stop() { scraper_.stop(); }
  void follow(const std::vector<Endpoint>& endpoints) {
    for (const std::string& id : std::exchange(ids_, {})) {
      if (std::ranges::find(endpoints, id, &Endpoint::id) == endpoints.end()) scraper_.remove_target(id);
    }
    for (const Endpoint& endpoint : endpoints) {
      const routing::sources::MetricNames* names = metric_names(endpoint.engine);
      if (names == nullptr) continue;
      scraper_.set_target({endpoint.id, endpoint.address, endpoint.port, "/metrics", *names});
      ids_.push_back(endpoint.id);
    }
  }

 private:
  routing::sources::MetricsScraper scraper_;
  std::vector<std::string> ids_;
};

Result<PickerConfig> config_of(const cli::Invocation& in) {
  PickerConfig config;
  Result<net::Address> listen = net::parse_address(in.text("listen"));
  if (!listen) return fail(listen.error());
  Result<net::Address> health = net::parse_address(in.text("health-listen"));
  if (!health) return fail(health.error());
  Result<net::Address> metrics = net::parse_address(in.text("metrics-listen"));
  if (!metrics) return fail(metrics.error());
  config.listen = *listen;
  config.metrics_listen = *metrics;
  config.health_listen = *health;
  config.cert_file = in.text("cert");
  config.key_file = in.text("key");
  config.pool_name = in.text("pool-name");
  config.fallbacks = in.count("fallbacks");
  config.subset_hint = !in.on("no-subset");
  config.test_selection = in.on("test-selection");
  config.max_body_bytes = in.bytes("max-body");
  config.queue_timeout = in.duration("queue-timeout");
  return config;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<log::Level> level = log::parse_level(in.text("log-level"));
  if (!level) return fail(level.error());
  log::configure(*level, in.text("log-format") == "json" ? log::Format::Json : log::Format::Text);
  Result<PickerConfig> config = config_of(in);
  if (!config) return fail(config.error());
  routing::RouterConfig router;
  routing::parse_policy(in.text("policy"), router.policy);
  EndpointsWatch watch(in.text("endpoints"));
  Result<std::vector<Endpoint>> endpoints = watch.first();
  if (!endpoints) return fail(endpoints.error());

  // Before any thread starts, so that all leave these to the loop below.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Registry registry;
  SystemClock clock;
  Picker picker(*config, router, registry, clock);
  picker.set_endpoints(*endpoints);
  if (Status started = picker.start(); !started) return fail(started.error());
  Scrapes scrapes(picker, registry);
  scrapes.follow(*endpoints);
  scrapes.start();
  output.note(fmt::format("picker is up with {}: ext_proc {}:{}, health {}:{}, metrics {}:{}",
                          counted(endpoints->size(), "endpoint"), config->listen.ip, picker.port(),
                          config->health_listen.ip, picker.health_port(), config->metrics_listen.ip,
                          picker.metrics_port()));
  output.flush();
  while (true) {
    const int number = sigtimedwait(&signals, nullptr, &kFileTick);
    if (number == SIGTERM || number == SIGINT) break;
    std::optional<std::vector<Endpoint>> changed = watch.changed();
    if (!changed) continue;
    log::info("Read the endpoints again", {{"endpoints", changed->size()}});
    scrapes.follow(*changed);
    picker.set_endpoints(std::move(*changed));
  }
  log::info("Draining", {{"limit", format_duration(in.duration("drain"))}});
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // a second signal ends it at once
  scrapes.stop();
  picker.stop(in.duration("drain"));
  return 0;
}

}  // namespace

cli::Command picker_command() {
  using cli::FlagKind;
  return {
      .name = "picker",
      .group = kGroupServe,
      .summary = "Choose endpoints for Envoy: the ext_proc endpoint picker",
      .about =
          "Serves the endpoint-picker protocol of the Gateway API Inference Extension, for Envoy and "
          "gateways that "
          "have one inside.\n"
          "The endpoints come from a file (llm-d's file-discovery format), which is read again when it "
          "changes. "
          "SIGTERM lets\n"
          "requests that are under way finish. How to set Envoy up: docs/guides/envoy.md.",
      .args = {},
      .flags =
          {{.name = "endpoints",
            .kind = FlagKind::Text,
            .value = "FILE",
            .fallback = "endpoints.yaml",
            .help = "the model servers to choose from",
            .complete = cli::Complete::File},
           {.name = "listen",
            .kind = FlagKind::Text,
            .value = "ADDR:PORT",
            .fallback = "127.0.0.1:9002",
            .help = "where proxies ask"},
           {.name = "health-listen",
            .kind = FlagKind::Text,
            .value = "ADDR:PORT",
            .fallback = "127.0.0.1:9003",
            .help = "grpc.health.v1 for probes, never with TLS"},
           {.name = "metrics-listen",
            .kind = FlagKind::Text,
            .value = "ADDR:PORT",
            .fallback = "127.0.0.1:9090",
            .help = "/metrics over HTTP"},
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
           {.name = "fallbacks",
            .kind = FlagKind::Count,
            .value = "N",
            .fallback = "0",
            .help =
                "endpoints named after the chosen one, for the proxy's retries; 0 for ORIGINAL_DST clusters",
            .max = 16},
           {.name = "policy",
            .kind = FlagKind::Choice,
            .fallback = "prefix",
            .help = "how requests find their endpoint",
            .choices = {"prefix", "round-robin", "least-requests"}},
           {.name = "pool-name",
            .kind = FlagKind::Text,
            .value = "NAME",
            .fallback = "default",
            .help = "the pool's name in metrics"},
           {.name = "no-subset", .help = "do not obey the proxy's list of endpoints that may be chosen"},
           {.name = "test-selection",
            .help = "obey the header test-epp-endpoint-selection, as the conformance suite expects"},
           {.name = "max-body",
            .kind = FlagKind::Bytes,
            .fallback = "32Mi",
            .help = "of a request that is kept until it has named its model"},
           {.name = "queue-timeout",
            .kind = FlagKind::Duration,
            .fallback = "60s",
            .help = "a request's longest wait for an endpoint"},
           {.name = "drain",
            .kind = FlagKind::Duration,
            .fallback = "30s",
            .help = "how long running requests may take after SIGTERM"},
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
      .examples = {{"picker --endpoints pool.yaml", "one pool, plain gRPC on loopback"},
                   {"picker --endpoints pool.yaml --fallbacks 2", "Envoy may try two more endpoints"}},
      .exit_note = "6 when an address is taken",
      .run = run};
}

}  // namespace tweendeck::commands
