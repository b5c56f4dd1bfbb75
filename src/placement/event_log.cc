#include "placement/event_log.h"

#include "placement/event_fields.h"

namespace tweendeck::placement {
namespace {

struct Writer {
  WordWriter words;

  void operator()(const NodePut& e) {
    words.section("node");
    node_fields(words, e.facts);
    for (const DeviceFacts& device : e.facts.devices) {
      words.section("device");
      device_fields(words, device);
      for (const PartitionProfile& profile : device.partitions) {
        words.section("partition");
        partition_fields(words, profile);
      }
    }
  }
  void operator()(const NodeGone& e) { named("node-gone", "name", e.node); }
  void operator()(const NodeCordon& e) { flagged("node-cordon", "name", e.node, e.cordoned); }
  void operator()(const DeviceHealth& e) { flagged("device-health", "id", e.device, e.healthy); }
  void operator()(const DeviceCordon& e) { flagged("device-cordon", "id", e.device, e.cordoned); }
  void operator()(const ShapeDefined& e) {
    words.section("shape");
    shape_fields(words, e);
    for (const Condition& condition : e.request.conditions) {
      words.section("condition");
      condition_fields(words, condition);
    }
  }
  void operator()(const QueuePut& e) {
    words.section("queue");
    queue_fields(words, e);
    for (const QuotaRule& rule : e.spec.rules) {
      words.section("rule");
      rule_fields(words, rule);
    }
  }
  void operator()(const GroupPut& e) {
    words.section("group");
    group_fields(words, e);
    for (const GroupRole& role : e.roles) {
      words.section("role");
      role_fields(words, role);
    }
  }
  void operator()(const GroupGone& e) {
    words.section("group-gone");
    words.number("group", e.group, 0);
  }
  void operator()(const ClaimSubmitted& e) {
    words.section("submit");
    submit_fields(words, e);
  }
  void operator()(const ClaimAdopted& e) {
    words.section("adopt");
    adopt_fields(words, e);
    for (const ClaimAdopted::Device& device : e.devices) {
      words.section("device");
      adopted_device_fields(words, device);
    }
  }
  void operator()(const ClaimWithdrawn& e) {
    words.section("withdraw");
    withdraw_fields(words, e);
  }
  void operator()(const BindConfirmed& e) {
    words.section("bind-confirmed");
    bind_fields(words, e);
  }
  void operator()(const BindFailed& e) {
    words.section("bind-failed");
    bind_fields(words, e);
  }
  void operator()(const Resize& e) {
    words.section("resize");
    resize_fields(words, e);
  }
  void operator()(const Timer& e) {
    words.section("timer");
    words.number("now", e.now_ms, 0);
  }
  void operator()(const NamespacePut& e) {
    words.section("namespace");
    namespace_fields(words, e);
    for (const auto& pair : e.hard) {
      words.section("hard");
      hard_fields(words, pair);
    }
  }
  void operator()(const BudgetPut& e) {
    words.section("budget");
    budget_fields(words, e);
  }
  void operator()(const WeightsOnNode& e) {
    words.section("weights");
    weights_fields(words, e);
  }

 private:
  void named(std::string_view verb, std::string_view key, const std::string& name) {
    words.section(verb);
    words.text(key, name);
  }
  void flagged(std::string_view verb, std::string_view key, const std::string& name, bool on) {
    named(verb, key, name);
    words.flag("on", on, false);
  }
};

}  // namespace

std::string to_line(const Event& event) {
  Writer writer;
  std::visit(writer, event);
  return writer.words.take();
}

bool is_event_line(std::string_view line) {
  const size_t first = line.find_first_not_of(' ');
  return first != std::string_view::npos && line[first] != '#';
}

}  // namespace tweendeck::placement
