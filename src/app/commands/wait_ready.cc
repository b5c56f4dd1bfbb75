#include "app/commands/wait_ready.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "app/commands/show.h"
#include "base/units.h"
#include "serving/plan.h"

namespace tweendeck::commands {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(100);
// A refusal must stand this long: what an ending replica frees may still arrive.
constexpr Nanos kHopelessFor = 2 * kSecond;
// What a model server said itself is final; this is for a start with other settings that is about to begin.
constexpr Nanos kRefusedFor = 300 * kMillisecond;

template <size_t N>
bool is_one_of(std::string_view reason, const std::string_view (&list)[N]) {
  return std::find(std::begin(list), std::end(list), reason) != std::end(list);
}

// What a model server finds out before it runs: the same start would find it again.
bool is_refusal(std::string_view reason) {
  return serving::refused_for_good(parse_reason(reason).value_or(Reason::None));
}

// A fault that another start does not cure.
bool is_final(std::string_view reason) {
  static constexpr std::string_view kFinal[] = {"EngineNotInstalled", "EngineInvalid", "CrashLoop",
                                                "StartTimeout"};
  return is_refusal(reason) || is_one_of(reason, kFinal);
}

// The exit says more than "CrashLoop" where there is one.
Error replica_error(const net::JsonValue& replica) {
  const net::JsonValue& exit = replica["last_exit"];
  bool use_exit = exit.is_object() && !text_of(exit, "message").empty();
  const net::JsonValue& source = use_exit ? exit : replica;
  Error error;
  error.reason = parse_reason(source["reason"].text_or("")).value_or(Reason::ReplicaExited);
  error.message = fmt::format("{}: {}", text_of(replica, "id"), text_of(source, "message"));
  error.hint = text_of(source, "hint");
  if (!error.hint.empty()) return error;
  error.hint = text_of(replica, "phase") == "pending"
                   ? fmt::format("it starts by itself once there is room; `tweendeck stop {}` gives up",
                                 text_of(replica, "deployment"))
                   : fmt::format("`tweendeck logs {}` shows what it said", text_of(replica, "id"));
  return error;
}

}  // namespace

Standing judge(const net::JsonValue& deployment) {
  Standing standing;
  uint64_t wanted = count_of(deployment["spec"], "replicas");
  uint64_t ready = 0;
  size_t moving = 0;
  std::string failures;
  for (const net::JsonValue& replica : deployment["replicas"].items()) {
    std::string phase = text_of(replica, "phase");
    std::string reason = text_of(replica, "reason");
    std::string exit_reason = text_of(replica["last_exit"], "reason");
    ready += phase == "ready";
    bool refused = phase == "pending" && !reason.empty();
    // Without a process: it has ended, and was not able to run or was refused.
    bool ended = phase == "backoff" || (phase == "unhealthy" && is_refusal(reason));
    bool failed = ended && (is_final(reason) || is_final(exit_reason));
    if (ended) {
      Error error = replica_error(replica);
      failures += fmt::format("; {} [{}]", error.message, to_string(error.reason));
      if (!is_refusal(reason)) standing.failed_starts.emplace(text_of(replica, "id"), std::move(error));
    }
    if (refused || failed) {
      standing.hopeless = true;
      bool is_final_word = ended && (is_refusal(reason) || is_refusal(exit_reason));
      if (!standing.refused) standing.error = replica_error(replica);
      standing.refused = standing.refused || is_final_word;
    } else if (phase != "ready") {
      ++moving;
    }
  }
  standing.ready = ready >= wanted && deployment["replicas"].items().size() == wanted;
  if (moving > 0 && !standing.refused) standing.hopeless = false;
  standing.line = fmt::format("{}: {} of {} ready ({})", text_of(deployment, "name"), ready, wanted,
                              phases_line(deployment)) +
                  failures;
  return standing;
}

Status wait_ready(client::LocalApi& api, const std::vector<std::string>& names, Nanos timeout,
                  cli::Output& output) {
  SystemClock clock;
  cli::Progress progress(output);
  Nanos started = clock.now();
  Nanos hopeless_since = 0, refused_since = 0;
  std::set<std::string> told;
  while (true) {
    bool all_ready = true, hopeless = false, refused = false;
    Error error;
    std::string lines;
    for (const std::string& name : names) {
      Result<client::ApiAnswer> answer = api.get("/v1/deployments/" + net::url_encode(name));
      if (!answer) return fail(answer.error());
      Standing standing = judge(answer->json);
      all_ready = all_ready && standing.ready;
      if (standing.hopeless && !refused) {
        hopeless = true;
        refused = standing.refused;
        error = standing.error;
      }
      lines += (lines.empty() ? "" : "; ") + standing.line;
      for (auto& [replica, failure] : standing.failed_starts) {
        if (!told.insert(replica).second) continue;
        failure.message += "; it is started again";
        progress.done();
        output.warn(failure);
      }
    }
    if (all_ready) return {};
    Nanos now = clock.now();
    if (!refused)
      refused_since = 0;
    else if (refused_since == 0)
      refused_since = now;
    else if (now - refused_since >= kRefusedFor)
      return fail(error);
    if (!hopeless)
      hopeless_since = 0;
    else if (hopeless_since == 0)
      hopeless_since = now;
    else if (now - hopeless_since >= kHopelessFor)
      return fail(error);
    if (now - started >= timeout) {
      return fail(Reason::Timeout, fmt::format("not ready within {}: {}", format_duration(timeout), lines),
                  fmt::format("it goes on starting; `tweendeck why {}` tells how it stands", names.front()));
    }
    progress.update(lines);
    std::this_thread::sleep_for(kPollInterval);
  }
}

}  // namespace tweendeck::commands
