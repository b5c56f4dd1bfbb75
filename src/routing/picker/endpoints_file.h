// The endpoints file: llm-d's `file-discovery` format, YAML or JSON.
//
//   endpoints:
//     - name: vllm-0            # unique within its namespace
//       namespace: default      # optional
//       address: "10.0.0.1"     # IPv4
//       port: "8000"
//       labels: {llm-d.ai/engine-type: vllm}   # optional
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tweendeck::routing::picker {

inline constexpr size_t kMaxEndpointsFileBytes = 1 << 20;
inline constexpr size_t kMaxEndpoints = 10'000;

// The endpoints in the order of the text, ids "namespace/name"; of two with one name the later one counts, as in
// llm-d. Errors: InvalidArgument with the line.
Result<std::vector<Endpoint>> parse_endpoints(const std::string& text);
// Errors also: NotFound, PermissionDenied, IoError; each names the file.
Result<std::vector<Endpoint>> load_endpoints(const std::string& file);

}  // namespace tweendeck::routing::picker
