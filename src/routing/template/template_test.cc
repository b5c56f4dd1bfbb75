#include "routing/template/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tweendeck::routing::chat_template {
namespace {

using testing::HasSubstr;

Result<std::string> try_render(std::string_view source, std::vector<Variable> variables = {},
                               RenderOptions options = {}) {
  auto parsed = Template::parse(source);
  if (!parsed) return fail(parsed.error());
  Renderer renderer;
  std::string out;
  if (auto ok = renderer.render(*parsed, variables, options, out); !ok) return fail(ok.error());
  return out;
}
std::string render(std::string_view source, std::vector<Variable> variables = {}) {
  auto out = try_render(source, std::move(variables));
  return out ? *out : to_string(out.error());
}
Error refused(std::string_view source, std::vector<Variable> variables = {}) {
  auto out = try_render(source, std::move(variables));
  return out ? Error{Reason::None, "", ""} : out.error();
}

TEST(Template, WhiteSpaceAroundTags) {
  EXPECT_EQ(render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n"), "a\n  b\nc");
  EXPECT_EQ(render("a {%- if true -%} b {%- endif %} c"), "ab c");
  EXPECT_EQ(render("  {{ 1 }}\n\n"), "  1\n");
  EXPECT_EQ(render("{# note #}\nx{#- y -#}\n z"), "xz");
  EXPECT_EQ(render("{% raw %}{{ x }}{% endraw %}"), "{{ x }}");
}

TEST(Template, ExpressionsAreThoseOfPython) {
  EXPECT_EQ(render("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1 + 2 * 3 }}"), "3 -4 2 3.5 7");
  EXPECT_EQ(render("{{ 1 < 2 < 3 }} {{ 'b' in 'abc' }} {{ 2 not in [1] }} {{ not 1 == 1 }}"),
            "True True True False");
  EXPECT_EQ(render("{{ [1, 'a\\'b', none, {'k': 1.0}] }} {{ (1,) }}"), "[1, \"a'b\", None, {'k': 1.0}] (1,)");
  EXPECT_EQ(render("{{ 'abc'[::-1] }} {{ [1, 2, 3][1:] }} {{ 'x' * 3 ~ 1 }} {{ 'abc'[-1] }}"),
            "cba [2, 3] xxx1 c");
  EXPECT_EQ(render("{{ 'yes' if 1 > 2 else 'no' }}{{ 'x' if false }}"), "no");
  EXPECT_EQ(render("{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }}"),
            "1e+16 1000000000000000.0 0.0001 1e-05");
}

TEST(Template, LoopsAndScopes) {
  EXPECT_EQ(
      render("{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}"),
      "1/2:1 2/2:3 ");
  EXPECT_EQ(render("{% set n = 0 %}{% for x in [1] %}{% set n = 5 %}{% endfor %}{{ n }}"), "0");
  EXPECT_EQ(
      render("{% set s = namespace(n=0) %}{% for x in [1, 2] %}{% set s.n = s.n + x %}{% endfor %}{{ s.n }}"),
      "3");
  EXPECT_EQ(render("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% else %}none{% endfor %}"), "a=1");
  EXPECT_EQ(render("{% for x in [] %}{% else %}none{% endfor %}"), "none");
  EXPECT_EQ(render("{% for x in range(9) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break "
                   "%}{% endif %}{{ x }}{% endfor %}"),
            "02");
  EXPECT_EQ(render("{% macro f(a, b='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{% set c = 1 %}{{ f('x') }}{{ "
                   "f(b=2, a=3) }}"),
            "xz1321");
  EXPECT_EQ(render("{% set t %}a{{ 1 }}{% endset %}{{ t | upper }}"), "A1");
}

TEST(Template, FiltersTestsAndMethods) {
  const std::vector<Variable> with = {{"m", R"([{"role": "user", "n": 2}, {"role": "tool", "n": 1}])"}};
  EXPECT_EQ(render("{{ m | map(attribute='role') | join(', ') }}", with), "user, tool");
  EXPECT_EQ(render("{{ m | selectattr('role', 'equalto', 'tool') | list | length }}", with), "1");
  EXPECT_EQ(render("{{ (m | sort(attribute='n') | first).role }}", with), "tool");
  EXPECT_EQ(render("{{ m[0] | tojson }}", with), R"({"role": "user", "n": 2})");
  EXPECT_EQ(render("{{ {'a': [1, {}]} | tojson(indent=2) }}"), "{\n  \"a\": [\n    1,\n    {}\n  ]\n}");
  EXPECT_EQ(render("{{ ' \u3000x\u00A0' | trim }}|{{ '<b>' | tojson }}|{{ x | default('d') }}"),
            "x|\"<b>\"|d");
  EXPECT_EQ(render("{{ 'a</t>b</t>c'.split('</t>')[-1] }}{{ '\\n\\nx'.lstrip('\\n') }}{{ "
                   "'ab'.startswith(('x', 'a')) }}"),
            "cxTrue");
  EXPECT_EQ(render("{{ x is defined }}{{ none is none }}{{ 'a' is string }}{{ [] is iterable }}{{ {} is "
                   "mapping }}{{ 3 is odd }}"),
            "FalseTrueTrueTrueTrueTrue");
}

TEST(Template, ReasonsAreTold) {
  EXPECT_EQ(refused("{{ raise_exception('roles must alternate') }}").reason, Reason::TemplateRefused);
  EXPECT_THAT(refused("{{ raise_exception('roles must alternate') }}").message,
              HasSubstr("roles must alternate"));
  EXPECT_EQ(refused("{{ x.y }}").reason, Reason::TemplateRefused);
  EXPECT_EQ(refused("{{ 1 + 'a' }}").reason, Reason::TemplateRefused);
  EXPECT_EQ(refused("{{ 'a' | xmlattr }}").reason, Reason::TemplateUnsupported);
  EXPECT_EQ(refused("{{ '\u00E9' | upper }}").reason, Reason::TemplateUnsupported);
  EXPECT_EQ(refused("{{ [].append(1) }}").reason, Reason::TemplateUnsupported);
  EXPECT_EQ(refused("{{ cycler(1) }}").reason, Reason::TemplateUnsupported);
  EXPECT_EQ(refused("{% include 'x' %}").reason, Reason::TemplateUnsupported);
  EXPECT_EQ(refused("{% if x %}").reason, Reason::TemplateInvalid);
  EXPECT_EQ(refused("{{ (1 }}").reason, Reason::TemplateInvalid);
  EXPECT_EQ(refused("{{ 'x }}").reason, Reason::TemplateInvalid);
  EXPECT_THAT(refused("\n\n{{ 1 | nope }}").message, HasSubstr("line 3"));
  EXPECT_EQ(refused("{{ m }}", {{"m", "{"}}).reason, Reason::MalformedRequest);
}

TEST(Template, HostileTemplatesAndRequestsAreBounded) {
  RenderOptions few;
  few.most_steps = 100'000;
  const auto endless =
      try_render("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", {}, few);
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().reason, Reason::LimitExceeded);
  EXPECT_EQ(refused("{{ 'x' * 1000000000000 }}").reason, Reason::LimitExceeded);
  EXPECT_EQ(refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").reason, Reason::LimitExceeded);
  const std::string nested = std::string(100000, '(') + "1" + std::string(100000, ')');
  EXPECT_EQ(refused("{{ " + nested + " }}").reason, Reason::TemplateUnsupported);
  std::string chain = "{{ x";
  for (int link = 0; link < 100000; ++link) chain += ".y";
  EXPECT_EQ(refused(chain + " }}").reason, Reason::TemplateUnsupported);
  const std::string deep = std::string(500, '[') + std::string(500, ']');
  EXPECT_EQ(refused("{{ m }}", {{"m", deep}}).reason, Reason::LimitExceeded);
  EXPECT_EQ(refused("{% set n = namespace(t='xxxxxxxx') %}{% for i in range(64) %}{% set n.t = n.t + n.t "
                    "%}{% endfor %}")
                .reason,
            Reason::LimitExceeded);
}

}  // namespace
}  // namespace tweendeck::routing::chat_template
