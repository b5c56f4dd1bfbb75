#include "engine/sim/settings.h"

#include <fmt/core.h>

#include <optional>

#include "base/units.h"

namespace tweendeck::sim {
namespace {

constexpr uint64_t kMaxBatch = 4096;

Status set_option(Settings& settings, const std::string& option, const std::string& value) {
  if (option == "--model") {
    const auto model = find_model(value);
    if (!model) return fail(model.error());
    settings.model = *model;
  } else if (option == "--model-name") {
    settings.model_name = value;
  } else if (option == "--host") {
    settings.host = value;
  } else if (option == "--port") {
    const auto port = parse_count(value, UINT16_MAX, "--port");
    if (!port) return fail(port.error());
    settings.port = static_cast<uint16_t>(*port);
  } else {
    return fail(Reason::InvalidArgument, fmt::format("the option {} is not known", option),
                "options are --model --model-name --host --port");
  }
  return {};
}

Status set_argument(Settings& settings, std::optional<uint32_t>& in_flight, const std::string& argument) {
  const size_t equals = argument.find('=');
  const std::string key = argument.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
  if (key == "lora" && !value.empty()) {
    settings.adapters.insert(value);
    return {};
  }
  if (key != "max_batch" && key != "max_in_flight") {
    return fail(Reason::InvalidArgument, fmt::format("engine argument '{}' is not known", argument),
                "known are max_batch=N, max_in_flight=N and lora=NAME");
  }
  const auto count = parse_count(value, kMaxBatch, key);
  if (!count) return fail(count.error());
  if (*count == 0) return fail(Reason::InvalidArgument, key + " must be at least 1");
  if (key == "max_batch") {
    settings.max_batch = static_cast<uint32_t>(*count);
  } else {
    in_flight = static_cast<uint32_t>(*count);
  }
  return {};
}

}  // namespace

Result<Settings> parse_settings(const std::vector<std::string>& arguments) {
  Settings settings;
  std::optional<uint32_t> in_flight;
  for (size_t i = 0; i < arguments.size(); ++i) {
    Status done;
    if (arguments[i].starts_with("--")) {
      if (i + 1 == arguments.size()) return fail(Reason::InvalidArgument, arguments[i] + " needs a value");
      done = set_option(settings, arguments[i], arguments[i + 1]);
      ++i;
    } else {
      done = set_argument(settings, in_flight, arguments[i]);
    }
    if (!done) return fail(done.error());
  }
  if (settings.model.name.empty())
    return fail(Reason::InvalidArgument, "--model is missing", "give --model sim-8b");
  if (settings.port == 0) return fail(Reason::InvalidArgument, "--port is missing or 0");
  if (settings.model_name.empty()) settings.model_name = settings.model.name;
  settings.max_in_flight = in_flight.value_or(settings.max_batch);
  return settings;
}

}  // namespace tweendeck::sim
