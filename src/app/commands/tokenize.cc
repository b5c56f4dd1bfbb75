// tweendeck tokenize: text on stdin to a model's token ids, by the code that the router uses.
#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <iterator>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"
#include "base/text.h"
#include "net/json.h"
#include "routing/tokenizer/tokenizer.h"

namespace tweendeck::commands {
namespace {

using routing::tokenizer::Encoder;

constexpr size_t kMaxTextBytes = size_t{256} << 20;

Result<std::string> read_bounded(std::istream& from, std::string_view name, size_t limit) {
  std::string text(std::istreambuf_iterator<char>(from), {});
  if (text.size() <= limit) return text;
  return fail(Reason::LimitExceeded, fmt::format("{} is larger than {} MiB", name, limit >> 20));
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(system_error(errno, fmt::format("cannot read {}", path)));
  return read_bounded(file, path, limit);
}

void print_ids(const Encoder& encoder, const std::vector<uint32_t>& ids, bool show, cli::Output& output) {
  if (output.json) {
    net::JsonWriter writer;
    writer.object().field("count", static_cast<uint64_t>(ids.size())).array("ids");
    for (const uint32_t id : ids) writer.value(id);
    writer.end();
    if (show) {
      writer.array("tokens");
      for (const uint32_t id : ids) writer.value(encoder.tokenizer().text_of(id));
      writer.end();
    }
    output.line(writer.end().text());
    return;
  }
  std::string line;
  for (const uint32_t id : ids) {
    if (show) {
      fmt::format_to(std::back_inserter(line), "{:>8}  {}\n", id,
                     json_quote(encoder.tokenizer().text_of(id)));
    } else {
      fmt::format_to(std::back_inserter(line), "{}{}", line.empty() ? "" : " ", id);
    }
  }
  if (show) return output.print(line);
  output.line(line);
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  const std::string path = in.text("tokenizer");
  if (path.empty()) {
    return fail(Reason::InvalidArgument, "no tokenizer is named", "write --tokenizer MODEL/tokenizer.json");
  }
  Result<std::string> json = read_file(path, routing::tokenizer::kMostTokenizerBytes);
  if (!json) return fail(json.error());
  auto tokenizer = routing::tokenizer::load_tokenizer(*json);
  if (!tokenizer) return fail(tokenizer.error());
  Result<std::string> input = read_bounded(std::cin, "the text", kMaxTextBytes);
  if (!input) return fail(input.error());
  Encoder encoder(*tokenizer);
  std::vector<uint32_t> ids;
  std::string_view rest = *input;
  // With --null each text ends with a NUL byte; what follows the last one is a text if it is not empty.
  for (bool more = true; more;) {
    const size_t end = in.on("null") ? rest.find('\0') : std::string_view::npos;
    ids.clear();
    encoder.encode(rest.substr(0, end), {.special = in.on("special")}, ids);
    print_ids(encoder, ids, in.on("show"), output);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    more = !rest.empty();
  }
  return 0;
}

}  // namespace

cli::Command tokenize_command() {
  using cli::FlagKind;
  return {
      .name = "tokenize",
      .group = kGroupOther,
      .summary = "Turn text on stdin into a model's token ids",
      .about =
          "The ids are those of the model's own tokenizer, one for one: the router counts and hashes them.\n"
          "A tokenizer with an unknown part is refused with TokenizerUnsupported.",
      .flags = {{.name = "tokenizer",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "the model's tokenizer.json",
                 .complete = cli::Complete::File},
                {.name = "special", .help = "add the tokens that the model wants before and after a text"},
                {.name = "show", .help = "each id with its text"},
                {.name = "null",
                 .letter = '0',
                 .help = "texts end with a NUL byte; one line of ids for each"}},
      .examples = {{"tokenize --tokenizer models/qwen3/tokenizer.json <prompt.txt", "ids on one line"},
                   {"tokenize --tokenizer tokenizer.json --show <prompt.txt", "see where words are cut"}},
      .run = run};
}

}  // namespace tweendeck::commands
