// The local API's part about slices: list, resize, and slices of programs that are not served.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "app/client/slice_lease.h"
#include "app/daemon/daemon.h"
#include "base/units.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::daemon {
namespace {

Error bad_body(std::string what) {
  return {Reason::InvalidArgument, "the request's body " + std::move(what),
          "docs/reference/local-api.md has its form"};
}

// What a body may set of a share, and how a field becomes a number of the share.
template <class Number>
Status read_number(const net::JsonValue& body, std::string_view key, int64_t least, int64_t most,
                   Number& out) {
  if (!body.has(key)) return {};
  const net::JsonValue& value = body[key];
  if (!value.is_integer() || value.integer_or(0) < least || value.integer_or(0) > most)
    return fail(bad_body(fmt::format("needs {} as a whole number from {} to {}", key, least, most)));
  out = static_cast<Number>(value.integer_or(0));
  return {};
}

Status read_share(const net::JsonValue& body, Share& share) {
  constexpr int64_t kMost = UINT32_MAX;
  for (Status read :
       {read_number(body, "memory_bytes", 0, INT64_MAX, share.memory_bytes),
        read_number(body, "compute_percent", 1, 100, share.compute_percent),
        read_number(body, "ceiling_percent", 0, 100, share.ceiling_percent),
        read_number(body, "weight", 0, kMost, share.weight),
        read_number(body, "memory_wait_ms", 0, kMost, share.memory_wait_ms),
        read_number(body, "priority", -serving::kMaxPriority, serving::kMaxPriority, share.priority)}) {
    if (!read) return read;
  }
  return {};
}

void write_grant(net::JsonWriter& w, const serving::SliceGrant& grant) {
  w.object().name("slice");
  write_slice(w, grant.slice, nullptr);
  w.field("simulated", grant.simulated).array("env");
  for (const auto& [name, value] : grant.env) w.object().field("name", name).field("value", value).end();
  w.end().array("mounts");
  for (const Mount& mount : grant.mounts) {
    w.object().field("source", mount.source).field("target", mount.target).end();
  }
  w.end().array("cgroup_procs");
  for (const std::string& file : grant.cgroup_procs) w.value(file);
  w.end().end();
}

}  // namespace

void Daemon::add_slice_routes() {
  using Request = net::ControlRequest;
  api_->on("GET", "/v1/slices", [this](const Request&) -> Result<std::string> { return slices_json(); });
  api_->on("POST", "/v1/slices",
           [this](const Request& r) { return change([&] { return take_slice_json(r.body); }); });
  api_->on("POST", "/v1/slices/{name}/resize", [this](const Request& r) {
    return change([&] { return resize_json(std::string(r.param("name")), r.body); });
  });
  // A program that ends gives its slice back even while the daemon is stopping.
  api_->on("DELETE", "/v1/slices/{id}",
           [this](const Request& r) { return release_slice_json(std::string(r.param("id"))); });
}

std::string Daemon::slices_json() {
  net::JsonWriter w;
  w.object().array("slices");
  for (const Slice& slice : devices_->broker().slices()) {
    const Result<device::SliceUsage> usage = devices_->broker().details(slice.id);
    write_slice_details(w, slice, usage ? &*usage : nullptr);
  }
  w.end().end();
  return w.take();
}

Result<std::string> Daemon::resize_json(const std::string& name, const std::string& text) {
  const Result<net::JsonValue> body = net::parse_json(text);
  if (!body || !body->is_object()) return fail(bad_body("is no JSON object"));
  Share checked;
  if (Status read = read_share(*body, checked); !read) return fail(read.error());
  const net::JsonValue& paused = (*body)["paused"];
  if (body->has("paused") && !paused.is_bool()) return fail(bad_body("needs paused as true or false"));
  std::vector<device::SliceEvent> events;
  const Result<std::vector<Slice>> resized = devices_->broker().resize(
      name,
      [&](Slice& slice) {
        const bool follows = slice.share.ceiling_percent == 0 || body->has("ceiling_percent");
        (void)read_share(*body, slice.share);
        // A ceiling that was not named stays where it is, but never below the slice's own share.
        if (!follows)
          slice.share.ceiling_percent = std::max(slice.share.ceiling_percent, slice.share.compute_percent);
        slice.paused = paused.bool_or(slice.paused);
      },
      events);
  for (const device::SliceEvent& event : events) record(event);
  if (!resized) return fail(resized.error());
  const std::string_view action = !body->has("paused")    ? "Resized"
                                  : paused.bool_or(false) ? "Paused"
                                                          : "Resumed";
  const UseBySlice use = uses(*resized);
  net::JsonWriter w;
  w.object().array("slices");
  for (const Slice& slice : *resized) {
    controller_->record_event(
        slice.owner, Reason::None, std::string(action),
        fmt::format("slice {} has {} and {} %{}", slice.id, format_bytes(slice.share.memory_bytes),
                    slice.share.compute_percent, slice.paused ? ", paused" : ""));
    const auto used = use.find(slice.id);
    write_slice(w, slice, used == use.end() ? nullptr : &used->second);
  }
  w.end().end();
  return w.take();
}

Result<std::string> Daemon::take_slice_json(const std::string& text) {
  const Result<net::JsonValue> body = net::parse_json(text);
  if (!body || !body->is_object()) return fail(bad_body("is no JSON object"));
  const std::string id((*body)["id"].text_or(""));
  if (Status valid = device::check_slice_id(id); !valid) return fail(valid.error());
  if (!client::lease_is_held(config_.state_dir, id)) {
    return fail(
        Reason::InvalidArgument, fmt::format("nobody holds the lease of slice {}", id),
        "slices without a deployment are for `tweendeck exec`, which holds one while its program runs");
  }
  Claim claim;
  claim.name = id;
  if (Status read = read_share(*body, claim.share); !read) return fail(read.error());
  for (const net::JsonValue& device : (*body)["devices"].items())
    claim.device_ids.emplace_back(device.text_or(""));
  const Result<serving::SliceGrant> grant = devices_->broker().acquire_own(claim, id);
  if (!grant) return fail(grant.error());
  controller_->record_event(
      id, Reason::None, "SlicePrepared",
      fmt::format("{} and {} % of {}, isolation {}", format_bytes(grant->slice.share.memory_bytes),
                  grant->slice.share.compute_percent, grant->slice.device_id,
                  to_string(grant->slice.isolation)));
  net::JsonWriter w;
  write_grant(w, *grant);
  return w.take();
}

Result<std::string> Daemon::release_slice_json(const std::string& id) {
  for (const Slice& slice : devices_->broker().slices()) {
    if (slice.id != id || slice.deployment.empty()) continue;
    return fail(Reason::InvalidArgument, fmt::format("slice {} belongs to {}", id, slice.owner),
                fmt::format("`tweendeck stop {}` or `tweendeck scale` gives it back", slice.deployment));
  }
  if (Status released = devices_->broker().release(id); !released) return fail(released.error());
  controller_->record_event(id, Reason::None, "SliceReleased", "its program has ended");
  net::JsonWriter w;
  w.object().field("id", id).end();
  return w.take();
}

void Daemon::release_ended_programs() {
  std::set<std::string> unreleased;
  for (const Slice& slice : devices_->broker().slices()) {
    if (!slice.deployment.empty() || client::lease_is_held(config_.state_dir, slice.id)) continue;
    const Status released = devices_->broker().release(slice.id);
    if (released) {
      controller_->record_event(slice.id, Reason::None, "SliceReleased", "whoever ran in it is gone");
    } else if (unreleased.insert(slice.id); !unreleased_.contains(slice.id)) {
      controller_->record_event(slice.id, released.error().reason, "SliceNotReleased",
                                released.error().message);
    }
  }
  unreleased_ = std::move(unreleased);
}

Status Daemon::release_programs() {
  Status all;
  for (const Slice& slice : devices_->broker().slices()) {
    if (!slice.deployment.empty()) continue;
    if (Status released = devices_->broker().release(slice.id); !released) all = released;
  }
  return all;
}

}  // namespace tweendeck::daemon
