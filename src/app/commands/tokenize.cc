// tweendeck tokenize: text or conversations to token ids, by the code that the router uses.
#include <fmt/format.h>
#include <simdjson.h>
#include <time.h>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <iterator>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"
#include "base/text.h"
#include "net/json.h"
#include "routing/template/template.h"
#include "routing/tokenizer/tokenizer.h"

namespace tweendeck::commands {
namespace {

using routing::tokenizer::Encoder;

constexpr size_t kMaxTextBytes = size_t{256} << 20;
constexpr size_t kMaxTemplateBytes = size_t{16} << 20;  // tokenizer_config.json names every added token

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

// tokenizer_config.json with a chat_template, or the template itself.
struct ChatTemplate {
  std::string source;
  std::vector<std::pair<std::string, std::string>> tokens;  // bos_token and its like, as JSON
};

std::string token_json(const net::JsonValue& token) {
  return json_quote(token.is_object() ? token["content"].text_or("") : token.text_or(""));
}

Result<ChatTemplate> read_template(const std::string& path) {
  Result<std::string> text = read_file(path, kMaxTemplateBytes);
  if (!text) return fail(text.error());
  if (!path.ends_with(".json")) return ChatTemplate{std::move(*text), {}};
  Result<net::JsonValue> config = net::parse_json(*text);
  if (!config) return fail(config.error());
  const net::JsonValue& source = (*config)["chat_template"];
  if (source.kind() != net::JsonValue::Kind::String) {
    return fail(Reason::InvalidArgument, fmt::format("{} has no chat_template", path),
                "name the file of the template");
  }
  ChatTemplate found{std::string(source.text_or("")), {}};
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const net::JsonValue& token = (*config)[name];
    if (token.kind() != net::JsonValue::Kind::Null) found.tokens.emplace_back(name, token_json(token));
  }
  return found;
}

// The text of a conversation: a chat request's JSON, or only its messages.
Result<std::string> render(const std::string& template_path, const std::string& messages_path) {
  Result<ChatTemplate> chat = read_template(template_path);
  if (!chat) return fail(chat.error());
  auto parsed = routing::chat_template::Template::parse(chat->source);
  if (!parsed) return fail(parsed.error());
  Result<std::string> text = read_file(messages_path, kMaxTextBytes);
  if (!text) return fail(text.error());
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (const auto error = parser.parse(*text).get(root)) {
    return fail(Reason::MalformedRequest,
                fmt::format("{}: {}", messages_path, simdjson::error_message(error)));
  }
  std::vector<std::pair<std::string, std::string>> values = std::move(chat->tokens);
  values.emplace_back("tools", "null");
  values.emplace_back("add_generation_prompt", "true");
  if (root.is_object()) {
    for (const auto field : root.get_object().value_unsafe()) {
      values.emplace_back(std::string(field.key), simdjson::minify(field.value));
    }
  } else {
    values.emplace_back("messages", simdjson::minify(root));
  }
  std::vector<routing::chat_template::Variable> variables;
  for (const auto& [name, json] : values) variables.push_back({name, json});
  std::string out;
  routing::chat_template::Renderer renderer;
  if (auto ok = renderer.render(*parsed, variables, {.now_s = time(nullptr)}, out); !ok)
    return fail(ok.error());
  return out;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  if (in.is_set("template") != in.is_set("messages")) {
    return fail(Reason::InvalidArgument, "--template and --messages belong together", "give both or none");
  }
  Result<std::string> rendered = std::string();
  if (in.is_set("template")) {
    rendered = render(in.text("template"), in.text("messages"));
    if (!rendered) return fail(rendered.error());
    if (!in.is_set("tokenizer")) {
      output.print(*rendered);
      return 0;
    }
  }
  const std::string path = in.text("tokenizer");
  if (path.empty()) {
    return fail(Reason::InvalidArgument, "no tokenizer is named", "write --tokenizer MODEL/tokenizer.json");
  }
  Result<std::string> json = read_file(path, routing::tokenizer::kMostTokenizerBytes);
  if (!json) return fail(json.error());
  auto tokenizer = routing::tokenizer::load_tokenizer(*json);
  if (!tokenizer) return fail(tokenizer.error());
  Result<std::string> input =
      in.is_set("template") ? std::move(rendered) : read_bounded(std::cin, "the text", kMaxTextBytes);
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
      .summary = "Turn text or a conversation into a model's token ids",
      .about =
          "The ids are those of the model's own tokenizer, one for one: the router counts and hashes them.\n"
          "With --template and --messages the text is the conversation as the model sees it, else stdin.\n"
          "A tokenizer or template with an unknown part is refused: TokenizerUnsupported, "
          "TemplateUnsupported.",
      .flags = {{.name = "tokenizer",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "the model's tokenizer.json",
                 .complete = cli::Complete::File},
                {.name = "template",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "the model's chat template, or tokenizer_config.json with it",
                 .complete = cli::Complete::File},
                {.name = "messages",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "JSON of a chat request, or of its messages; printed as text without --tokenizer",
                 .complete = cli::Complete::File},
                {.name = "special", .help = "add the tokens that the model wants before and after a text"},
                {.name = "show", .help = "each id with its text"},
                {.name = "null",
                 .letter = '0',
                 .help = "texts end with a NUL byte; one line of ids for each"}},
      .examples = {{"tokenize --tokenizer models/qwen3/tokenizer.json <prompt.txt", "ids on one line"},
                   {"tokenize --tokenizer tokenizer.json --show <prompt.txt", "see where words are cut"},
                   {"tokenize --template tokenizer_config.json --messages chat.json",
                    "what the model reads"}},
      .run = run};
}

}  // namespace tweendeck::commands
