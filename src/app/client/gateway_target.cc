#include "app/client/gateway_target.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>

#include "app/client/local_api.h"
#include "base/text.h"

namespace tweendeck::client {

std::vector<cli::Flag> gateway_flags() {
  return {{.name = "gateway",
           .kind = cli::FlagKind::Text,
           .value = "URL",
           .help = "another gateway, for example https://deck:8080 (default: the local daemon's)",
           .env = "TWEENDECK_GATEWAY"},
          {.name = "api-key-file",
           .kind = cli::FlagKind::Text,
           .value = "FILE",
           .help = "file whose first line is the API key",
           .env = "TWEENDECK_API_KEY_FILE",
           .complete = cli::Complete::File},
          {.name = "ca",
           .kind = cli::FlagKind::Text,
           .value = "FILE",
           .help = "certificates to trust for https instead of the system's",
           .complete = cli::Complete::File}};
}

Result<ChatTarget> gateway_target(const cli::Invocation& in) {
  ChatTarget target{.base_url = in.text("gateway"), .ca_file = in.text("ca")};
  while (target.base_url.ends_with('/')) target.base_url.pop_back();
  if (target.base_url.empty()) {
    Result<LocalApi> api = LocalApi::of(in);
    if (!api) return fail(api.error());
    Result<ApiAnswer> version = api->get("/v1/version");
    if (!version) return fail(version.error());
    target.base_url = version->json["gateway"].text_or("");
  }
  if (std::string path = in.text("api-key-file"); !path.empty()) {
    errno = 0;
    std::ifstream file(path);
    std::string key;
    if (!file || !std::getline(file, key)) {
      return fail(system_error(errno, fmt::format("cannot read an API key from {}", path)));
    }
    target.api_key = trim(key);
  }
  return target;
}

}  // namespace tweendeck::client
