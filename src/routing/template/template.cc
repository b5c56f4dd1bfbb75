#include "routing/template/template.h"

#include <fmt/format.h>

#include "routing/template/evaluator.h"
#include "routing/template/json_reader.h"
#include "routing/template/parser.h"

namespace tweendeck::routing::chat_template {

Result<Template> Template::parse(std::string_view source) {
  auto syntax = parse_template(source);
  if (!syntax) return fail(syntax.error());
  Template made;
  made.syntax_ = std::make_shared<const Syntax>(std::move(*syntax));
  return made;
}

Renderer::Renderer() : reader_(std::make_unique<JsonReader>()) {}
Renderer::~Renderer() = default;

Status Renderer::render(const Template& from, const std::vector<Variable>& variables,
                        const RenderOptions& options, std::string& out) {
  reader_->clear();
  Arena arena(options.most_bytes);
  Evaluator evaluator(*from.syntax_, arena, options, out);
  for (const Variable& variable : variables) {
    auto value = reader_->read(variable.json, arena);
    if (!value) {
      return fail(value.error().reason, fmt::format("{}: {}", variable.name, value.error().message));
    }
    evaluator.set_global(variable.name, *value);
  }
  return evaluator.run();
}

}  // namespace tweendeck::routing::chat_template
