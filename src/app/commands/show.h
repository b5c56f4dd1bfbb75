// How answers of the local API look in tables: shared by ps, top, devices, why, events. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/cli/terminal.h"
#include "base/clock.h"
#include "net/json.h"

namespace tweendeck::commands {

std::string text_of(const net::JsonValue& object, std::string_view key);  // "" when absent
uint64_t count_of(const net::JsonValue& object, std::string_view key);    // 0 when absent

std::string show_phase(std::string_view phase, bool color);
std::string show_isolation(const net::JsonValue& holder);  // "kernel", "none (CgroupUnavailable)"
// "1 GiB 40 %" of a slice.
std::string show_share(const net::JsonValue& slice);
// Age of an RFC 3339 time: "3m12s"; "-" when it is none.
std::string show_age(std::string_view time, Nanos wall_now);
// "17:00:03" of an RFC 3339 time.
std::string show_clock(std::string_view time);
// "########........" of `width` columns.
std::string show_bar(double share, size_t width);

cli::Table deployments_table(const net::JsonValue& answer, Nanos wall_now, bool color);
cli::Table devices_table(const net::JsonValue& answer);
std::string event_line(const net::JsonValue& event, bool color);

// Counts of phases over a deployment: "1 ready, 1 starting".
std::string phases_line(const net::JsonValue& deployment);

}  // namespace tweendeck::commands
