#include "engine/sim/status.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"

namespace tweendeck::sim {
namespace {

Status write(const std::string& json) {
  const char* path = getenv("TWEENDECK_STATUS_FILE");
  if (path == nullptr || *path == 0) return {};
  const std::string partial = std::string(path) + ".partial";
  FILE* file = fopen(partial.c_str(), "we");
  if (file == nullptr) return fail(system_error(errno, "cannot create " + partial));
  const bool written = fwrite(json.data(), 1, json.size(), file) == json.size();
  if (fclose(file) != 0 || !written) return fail(system_error(errno, "cannot write " + partial));
  if (rename(partial.c_str(), path) != 0)
    return fail(system_error(errno, fmt::format("cannot rename {}", partial)));
  return {};
}

}  // namespace

Status write_ready(const ReadyStatus& status) {
  return write(fmt::format(R"({{"max_in_flight":{},"context_tokens":{},"simulated":true}})",
                           status.max_in_flight, status.context_tokens));
}

Status write_refusal(const Error& error) {
  return write(fmt::format(R"({{"reason":"{}","message":{},"hint":{}}})", to_string(error.reason),
                           json_quote(error.message), json_quote(error.hint)));
}

}  // namespace tweendeck::sim
