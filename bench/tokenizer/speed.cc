// Encodes texts with one core and tells the CPU time; `bench/tokenizer/run` sets it beside the reference's.
//
//   bench_tokenizer TOKENIZER_JSON TEXTS ROUNDS [IDS]
//
// TEXTS holds texts that end with a NUL byte each. Every round encodes all of them; the first also fills the cache of
// words. IDS gets the ids of each text as 32-bit numbers: how many, then they. Prints one line of JSON.
#include <fmt/format.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "routing/tokenizer/tokenizer.h"

using namespace tweendeck;
using namespace tweendeck::routing;

namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fmt::print(stderr, "cannot read {}\n", path);
    std::exit(2);
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: bench_tokenizer TOKENIZER_JSON TEXTS ROUNDS [IDS]\n");
    return 2;
  }
  const std::string json = read(argv[1]), texts = read(argv[2]);
  const double before_load = cpu_seconds();
  const auto loaded = tokenizer::load_tokenizer(json);
  if (!loaded) {
    fmt::print(stderr, "{}\n", to_string(loaded.error()));
    return 1;
  }
  const double load = cpu_seconds() - before_load;
  tokenizer::Encoder encoder(*loaded);
  std::vector<double> rounds;
  std::vector<uint32_t> ids;
  std::ofstream out;
  if (argc > 4) out.open(argv[4], std::ios::binary);
  size_t total = 0;
  for (int round = 0; round < std::atoi(argv[3]); ++round) {
    total = 0;
    const double start = cpu_seconds();
    for (size_t at = 0, end; (end = texts.find('\0', at)) != std::string::npos; at = end + 1) {
      ids.clear();
      encoder.encode(std::string_view(texts).substr(at, end - at), {}, ids);
      total += ids.size();
      if (round > 0 || !out.is_open()) continue;
      const auto count = static_cast<uint32_t>(ids.size());
      out.write(reinterpret_cast<const char*>(&count), sizeof count);
      out.write(reinterpret_cast<const char*>(ids.data()),
                static_cast<std::streamsize>(count * sizeof count));
    }
    rounds.push_back(cpu_seconds() - start);
  }
  std::string seconds;
  for (const double one : rounds) seconds += fmt::format("{}{:.4f}", seconds.empty() ? "" : ", ", one);
  fmt::print("{{\"bytes\": {}, \"ids\": {}, \"load_s\": {:.3f}, \"round_s\": [{}]}}\n", texts.size(), total,
             load, seconds);
  return 0;
}
