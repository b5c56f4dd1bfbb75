// Any bytes as a template: refused with a reason or rendered within small limits.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "routing/template/template.h"

using namespace tweendeck::routing::chat_template;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parsed = Template::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed) return 0;
  static Renderer renderer;
  const std::vector<Variable> variables = {
      {"messages", R"([{"role": "user", "content": "Hi \u00e9"}, {"role": "assistant", "content": null,
                       "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": [1, 2.5, true]}}}]}])"},
      {"tools", "null"},
      {"add_generation_prompt", "true"}};
  RenderOptions options;
  options.most_steps = 20'000;
  options.most_bytes = 4 << 20;
  options.most_output_bytes = 1 << 20;
  std::string out;
  (void)renderer.render(*parsed, variables, options, out);
  return 0;
}
