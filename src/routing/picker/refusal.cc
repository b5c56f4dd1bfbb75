#include "routing/picker/refusal.h"

#include "routing/dialect/errors.h"
#include "routing/picker/messages.h"
#include "routing/picker/names.h"

namespace tweendeck::routing::picker {
namespace {

// llm-d's words for it; "" = it was not turned away for load.
std::string_view dropped_reason(Reason reason) {
  switch (reason) {
    case Reason::NoEndpoint:
      return "rejected-no-endpoints";
    case Reason::QueueFull:
    case Reason::Overloaded:
      return "rejected-saturated";
    case Reason::QueueTimeout:
      return "rejected-ttl-expired";
    case Reason::ShuttingDown:
      return "rejected-shutting-down";
    default:
      return {};
  }
}

}  // namespace

void write_refusal(const Error& error, Nanos retry_after, net::ProtoWriter& out) {
  const int status = http_status(error.reason);
  const std::string body = dialect::openai_error(error);
  const std::string seconds = std::to_string((retry_after + kSecond - 1) / kSecond);
  Mutation mutation;
  mutation.set.push_back({"content-type", "application/json"});
  if (status == 429 || status == 503) mutation.set.push_back({"retry-after", seconds});
  if (const std::string_view dropped = dropped_reason(error.reason); !dropped.empty()) {
    mutation.set.push_back({kDroppedReason, dropped});
  }
  write_immediate(status, mutation, body, to_string(error.reason), out);
}

}  // namespace tweendeck::routing::picker
