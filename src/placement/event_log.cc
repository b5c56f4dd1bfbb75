#include "placement/event_log.h"

#include "placement/event_words.h"

namespace tweendeck::placement {
namespace {

constexpr std::string_view kIsolation[] = {"none", "library", "driver", "kernel", "hardware"};
constexpr std::string_view kNear[] = {"anywhere", "numa", "pcie", "island"};
constexpr std::string_view kPrefer[] = {"default", "pack", "spread", "mutex"};
constexpr std::string_view kLevel[] = {"cluster", "block", "rack", "node", "island"};
constexpr std::string_view kOp[] = {"in", "not-in", "exists", "absent", "at-least", "at-most"};

// The fields of each thing, once for both directions: `words` is a WordWriter or a WordReader.

template <class Words, class T>
void partition_fields(Words& words, T& profile) {
  words.text("name", profile.name);
  words.number("memory", profile.memory_bytes, 0);
  words.number("compute", profile.compute_permille, 0);
  words.number("slots", profile.slots, 1);
  words.number("starts", profile.starts, 0);
}

template <class Words, class T>
void device_fields(Words& words, T& device) {
  words.text("id", device.id);
  words.text("vendor", device.vendor);
  words.text("model", device.model);
  words.number("memory", device.memory_bytes, 0);
  words.choice("isolation", device.isolation, Isolation::Library, kIsolation);
  words.flag("healthy", device.healthy, true);
  words.flag("cordoned", device.cordoned, false);
  words.number("numa", device.numa_node, -1);
  words.number("pcie", device.pcie_root, -1);
  words.number("island", device.link_island, -1);
  words.number("max-claims", device.max_claims, 1000);
  words.attributes(device.attributes);
}

template <class Words, class T>
void node_fields(Words& words, T& node) {
  words.text("name", node.name);
  words.number("cpu", node.cpu_milli, 0);
  words.number("memory", node.memory_bytes, 0);
  words.flag("cordoned", node.cordoned, false);
  words.text("rack", node.rack);
  words.text("block", node.block);
  words.attributes(node.attributes);
}

template <class Words, class T>
void condition_fields(Words& words, T& condition) {
  words.text("name", condition.name);
  words.choice("op", condition.op, Condition::Op::In, kOp);
  words.list("value", condition.values);
}

template <class Words, class T>
void shape_fields(Words& words, T& event) {
  auto& request = event.request;
  words.number("number", event.shape, 0);
  words.number("cpu", request.cpu_milli, 0);
  words.number("node-memory", request.node_memory_bytes, 0);
  words.number("devices", request.devices, 0);
  words.number("memory", request.memory_bytes, 0);
  words.number("percent", request.memory_percent, 0);
  words.number("compute", request.compute_permille, 0);
  words.flag("exclusive", request.exclusive, false);
  words.text("partition", request.partition);
  words.list("model", request.models);
  words.list("id", request.device_ids);
  words.text("vendor", request.vendor);
  words.choice("isolation", request.min_isolation, Isolation::None, kIsolation);
  words.choice("near", request.near, Near::Anywhere, kNear);
  words.flag("near-required", request.near_required, true);
  words.choice("prefer", request.prefer, Prefer::Default, kPrefer);
}

template <class Words, class T>
void rule_fields(Words& words, T& rule) {
  words.text("resource", rule.resource);
  words.number("guaranteed", rule.guaranteed, 0);
  words.number("limit", rule.limit, kUnlimited);
}

template <class Words, class T>
void queue_fields(Words& words, T& event) {
  words.number("number", event.queue, 0);
  words.text("name", event.spec.name);
  words.text("parent", event.spec.parent);
  words.number("weight", event.spec.weight, 1);
}

template <class Words, class T>
void role_fields(Words& words, T& role) {
  words.number("shape", role.shape, 0);
  words.number("min", role.min, 1);
  words.number("max", role.max, 1);
  words.choice("within", role.within, Level::Cluster, kLevel);
}

template <class Words, class T>
void group_fields(Words& words, T& event) {
  words.number("group", event.group, 0);
  words.choice("required", event.required, Level::Cluster, kLevel);
  words.choice("preferred", event.preferred, Level::Cluster, kLevel);
  words.number("queue", event.queue, kNoNumber);
  words.number("priority", event.priority, 0);
  words.number("time", event.time_ms, 0);
}

template <class Words, class T>
void submit_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("shape", event.shape, 0);
  words.number("queue", event.queue, kNoNumber);
  words.number("priority", event.priority, 0);
  words.number("time", event.time_ms, 0);
  words.number("group", event.group, 0);
  words.number("role", event.role, 0);
}

template <class Words, class T>
void withdraw_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("time", event.time_ms, 0);
}

template <class Words, class T>
void bind_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("reservation", event.reservation, 0);
  words.number("time", event.time_ms, 0);
}

template <class Words, class T>
void resize_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("shape", event.shape, 0);
  words.number("time", event.time_ms, 0);
}

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

using Sections = std::vector<Section>;

Error stray(const Section& section) {
  return {Reason::InvalidArgument, "'" + escape_word(section.name) + "' does not belong here",
          "see placement/event_log.h for the words of a line"};
}

template <class T>
Result<Event> single(const Sections& sections, const auto& read) {
  if (sections.size() > 1) return fail(stray(sections[1]));
  T event;
  WordReader words(sections.front());
  read(words, event);
  if (Status ok = words.done(); !ok) return fail(ok.error());
  return event;
}

template <class T>
Result<Event> flagged(const Sections& sections, std::string_view key, std::string T::* name, bool T::* flag) {
  return single<T>(sections, [&](WordReader& words, T& event) {
    words.text(key, event.*name);
    words.flag("on", event.*flag, false);
  });
}

Result<Event> read_node(const Sections& sections) {
  NodePut event;
  for (size_t i = 0; i < sections.size(); ++i) {
    WordReader words(sections[i]);
    if (i == 0) {
      node_fields(words, event.facts);
    } else if (sections[i].name == "device") {
      device_fields(words, event.facts.devices.emplace_back());
    } else if (sections[i].name == "partition" && !event.facts.devices.empty()) {
      partition_fields(words, event.facts.devices.back().partitions.emplace_back());
    } else {
      return fail(stray(sections[i]));
    }
    if (Status ok = words.done(); !ok) return fail(ok.error());
  }
  return event;
}

Result<Event> read_shape(const Sections& sections) {
  ShapeDefined event;
  for (size_t i = 0; i < sections.size(); ++i) {
    WordReader words(sections[i]);
    if (i > 0 && sections[i].name != "condition") return fail(stray(sections[i]));
    if (i == 0) {
      shape_fields(words, event);
    } else {
      condition_fields(words, event.request.conditions.emplace_back());
    }
    if (Status ok = words.done(); !ok) return fail(ok.error());
  }
  return event;
}

Result<Event> read_queue(const Sections& sections) {
  QueuePut event;
  for (size_t i = 0; i < sections.size(); ++i) {
    WordReader words(sections[i]);
    if (i > 0 && sections[i].name != "rule") return fail(stray(sections[i]));
    if (i == 0) {
      queue_fields(words, event);
    } else {
      rule_fields(words, event.spec.rules.emplace_back());
    }
    if (Status ok = words.done(); !ok) return fail(ok.error());
  }
  return event;
}

Result<Event> read_group(const Sections& sections) {
  GroupPut event;
  for (size_t i = 0; i < sections.size(); ++i) {
    WordReader words(sections[i]);
    if (i > 0 && sections[i].name != "role") return fail(stray(sections[i]));
    if (i == 0) {
      group_fields(words, event);
    } else {
      role_fields(words, event.roles.emplace_back());
    }
    if (Status ok = words.done(); !ok) return fail(ok.error());
  }
  return event;
}

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

Result<Event> parse_event(std::string_view line) {
  if (line.size() > kMaxEventLine) {
    return fail(Reason::LimitExceeded, "a line of " + std::to_string(line.size()) + " bytes",
                "a line has at most " + std::to_string(kMaxEventLine));
  }
  const Result<Sections> sections = sections_of(line);
  if (!sections) return fail(sections.error());
  if (sections->empty()) {
    return fail(Reason::InvalidArgument, "the line holds no event", "skip lines that is_event_line refuses");
  }
  const std::string_view verb = sections->front().name;
  if (verb == "node") return read_node(*sections);
  if (verb == "shape") return read_shape(*sections);
  if (verb == "queue") return read_queue(*sections);
  if (verb == "group") return read_group(*sections);
  if (verb == "group-gone") {
    return single<GroupGone>(*sections,
                             [](WordReader& words, GroupGone& e) { words.number("group", e.group, 0); });
  }
  if (verb == "node-gone") {
    return single<NodeGone>(*sections, [](WordReader& words, NodeGone& e) { words.text("name", e.node); });
  }
  if (verb == "node-cordon") return flagged(*sections, "name", &NodeCordon::node, &NodeCordon::cordoned);
  if (verb == "device-health") return flagged(*sections, "id", &DeviceHealth::device, &DeviceHealth::healthy);
  if (verb == "device-cordon")
    return flagged(*sections, "id", &DeviceCordon::device, &DeviceCordon::cordoned);
  if (verb == "submit") {
    return single<ClaimSubmitted>(*sections,
                                  [](WordReader& words, ClaimSubmitted& e) { submit_fields(words, e); });
  }
  if (verb == "withdraw") {
    return single<ClaimWithdrawn>(*sections,
                                  [](WordReader& words, ClaimWithdrawn& e) { withdraw_fields(words, e); });
  }
  if (verb == "bind-confirmed") {
    return single<BindConfirmed>(*sections,
                                 [](WordReader& words, BindConfirmed& e) { bind_fields(words, e); });
  }
  if (verb == "bind-failed") {
    return single<BindFailed>(*sections, [](WordReader& words, BindFailed& e) { bind_fields(words, e); });
  }
  if (verb == "resize") {
    return single<Resize>(*sections, [](WordReader& words, Resize& e) { resize_fields(words, e); });
  }
  if (verb == "timer") {
    return single<Timer>(*sections, [](WordReader& words, Timer& e) { words.number("now", e.now_ms, 0); });
  }
  return fail(Reason::InvalidArgument, "there is no event '" + escape_word(verb) + "'",
              "see placement/event_log.h for the words of a line");
}

}  // namespace tweendeck::placement
