// Chat templates: from a conversation to the text that the model sees, as Jinja renders it in an engine.
//
//   auto parsed = Template::parse(source);       // tokenizer_config.json's chat_template
//   Renderer renderer;                           // one per thread
//   auto ok = renderer.render(*parsed, {{"messages", messages_json}, {"add_generation_prompt", "true"}}, {}, text);
//
// A subset of Jinja 3 with the settings and additions of Hugging Face transformers (sandbox, trim_blocks, lstrip_blocks,
// loop controls, tojson, raise_exception, strftime_now). What the subset lacks is refused with TemplateUnsupported; what
// the template itself refuses, or what is an error in Python too, with TemplateRefused. Time and memory are bounded.
// A Template is immutable and safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::routing::chat_template {

struct Syntax;
class JsonReader;

class Template {
 public:
  static Result<Template> parse(std::string_view source);

 private:
  friend class Renderer;
  std::shared_ptr<const Syntax> syntax_;
};

struct Variable {
  std::string_view name;
  std::string_view json;
};

struct RenderOptions {
  int64_t now_s = 0;                      // for strftime_now, in UTC
  size_t most_steps = 20'000'000;         // nodes evaluated, and elements or 64 bytes looked at
  size_t most_bytes = size_t{256} << 20;  // of values made
  size_t most_output_bytes = size_t{128} << 20;
};

inline constexpr size_t kMostMembers = 4096;  // of one JSON object

class Renderer {
 public:
  Renderer();
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  // Appends to `out`; what is there after an error is of no use.
  Status render(const Template& from, const std::vector<Variable>& variables, const RenderOptions& options,
                std::string& out);

 private:
  std::unique_ptr<JsonReader> reader_;
};

}  // namespace tweendeck::routing::chat_template
