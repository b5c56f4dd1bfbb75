// The JSON of the local API (docs/reference/local-api.md), written from the structs of the other rooms. Pure.
// Fields are only ever added. Sizes are bytes, times RFC 3339 in UTC, reasons are names of reason.def.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "device/provider.h"
#include "net/json.h"
#include "routing/router.h"
#include "serving/controller/controller.h"
#include "serving/ports.h"
#include "serving/types.h"

namespace tweendeck::daemon {

using UseBySlice = std::map<std::string, serving::SliceUse, std::less<>>;

// Each appends one value.
void write_device(net::JsonWriter& w, const Device& device, const std::vector<Slice>& slices,
                  const UseBySlice& use);
void write_slice(net::JsonWriter& w, const Slice& slice, const serving::SliceUse* use);
void write_slice_details(net::JsonWriter& w, const Slice& slice, const device::SliceUsage* usage);
void write_replica(net::JsonWriter& w, const serving::ReplicaView& replica, const serving::SliceUse* use);
void write_deployment(net::JsonWriter& w, const serving::DeploymentView& deployment, const UseBySlice& use);
void write_event(net::JsonWriter& w, const serving::Event& event);
void write_why(net::JsonWriter& w, const serving::WhyReport& report);
void write_endpoint(net::JsonWriter& w, const routing::Router::EndpointView& view);

// What doctor found. `severity`: "error" = it does not work, "warning" = it works worse, "info" = good to
// know.
struct Finding {
  std::string severity;
  std::string subject;
  Reason reason = Reason::None;
  std::string message;
  std::string hint;
};
std::string findings_json(const std::vector<Finding>& findings);

}  // namespace tweendeck::daemon
