// Waits until deployments stand as asked, telling what happens meanwhile.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "base/clock.h"

namespace tweendeck::commands {

// What one look at a deployment says. Pure.
struct Standing {
  bool ready = false;     // every wanted replica is ready
  bool hopeless = false;  // waiting longer changes nothing: `error` says why
  bool refused =
      false;  // a model server said why it can never run like this; what the others do changes nothing
  Error error;
  std::string line;  // for progress
  // Every start that failed and is tried again, by replica: what to tell once, while waiting goes on.
  std::map<std::string, Error> failed_starts;
};
Standing judge(const net::JsonValue& deployment);

// Returns when all are ready. The first failed start of each replica is told at once. Errors: Timeout; the
// reason of a replica that cannot start, after it stood for a while.
Status wait_ready(client::LocalApi& api, const std::vector<std::string>& names, Nanos timeout,
                  cli::Output& output);

}  // namespace tweendeck::commands
