// Lines of an event log back into events.
#include "placement/event_fields.h"
#include "placement/event_log.h"

namespace tweendeck::placement {
namespace {

using Sections = std::vector<Section>;

Error stray(const Section& section) {
  return {Reason::InvalidArgument, "'" + escape_word(section.name) + "' does not belong here",
          "docs/guides/simulate.md lists the words of a line"};
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

// An event whose verb may be followed by things of one kind.
template <class T>
Result<Event> with_parts(const Sections& sections, std::string_view part, const auto& read,
                         const auto& read_part) {
  T event;
  for (size_t i = 0; i < sections.size(); ++i) {
    WordReader words(sections[i]);
    if (i > 0 && sections[i].name != part) return fail(stray(sections[i]));
    if (i == 0) {
      read(words, event);
    } else {
      read_part(words, event);
    }
    if (Status ok = words.done(); !ok) return fail(ok.error());
  }
  return event;
}

Result<Event> read_shape(const Sections& sections) {
  return with_parts<ShapeDefined>(
      sections, "condition", [](WordReader& words, ShapeDefined& e) { shape_fields(words, e); },
      [](WordReader& words, ShapeDefined& e) {
        condition_fields(words, e.request.conditions.emplace_back());
      });
}

Result<Event> read_queue(const Sections& sections) {
  return with_parts<QueuePut>(
      sections, "rule", [](WordReader& words, QueuePut& e) { queue_fields(words, e); },
      [](WordReader& words, QueuePut& e) { rule_fields(words, e.spec.rules.emplace_back()); });
}

Result<Event> read_group(const Sections& sections) {
  return with_parts<GroupPut>(
      sections, "role", [](WordReader& words, GroupPut& e) { group_fields(words, e); },
      [](WordReader& words, GroupPut& e) { role_fields(words, e.roles.emplace_back()); });
}

Result<Event> read_adopted(const Sections& sections) {
  return with_parts<ClaimAdopted>(
      sections, "device", [](WordReader& words, ClaimAdopted& e) { adopt_fields(words, e); },
      [](WordReader& words, ClaimAdopted& e) { adopted_device_fields(words, e.devices.emplace_back()); });
}

Result<Event> read_namespace(const Sections& sections) {
  return with_parts<NamespacePut>(
      sections, "hard", [](WordReader& words, NamespacePut& e) { namespace_fields(words, e); },
      [](WordReader& words, NamespacePut& e) { hard_fields(words, e.hard.emplace_back()); });
}

}  // namespace

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
  if (verb == "adopt") return read_adopted(*sections);
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
  if (verb == "namespace") return read_namespace(*sections);
  if (verb == "budget") {
    return single<BudgetPut>(*sections, [](WordReader& words, BudgetPut& e) { budget_fields(words, e); });
  }
  if (verb == "weights") {
    return single<WeightsOnNode>(*sections,
                                 [](WordReader& words, WeightsOnNode& e) { weights_fields(words, e); });
  }
  return fail(Reason::InvalidArgument, "there is no event '" + escape_word(verb) + "'",
              "docs/guides/simulate.md lists the words of a line");
}

}  // namespace tweendeck::placement
