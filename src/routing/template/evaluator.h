// Runs a parsed template. Internal to the room; template.h is its contract.
//
// The first error is kept and ends the run at the next statement; until then evaluation goes on with undefined values.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "routing/template/syntax.h"
#include "routing/template/template.h"
#include "routing/template/value.h"

namespace tweendeck::routing::chat_template {

// The variable `loop`.
struct Loop {
  const Value* items = nullptr;
  size_t length = 0;
  size_t index0 = 0;
};

// Arguments of a call, filter or test. What nobody took is an error of the call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
  size_t most = 0;                           // positional ones that were asked for
  std::vector<std::string_view> asked = {};  // names that were asked for

  // The argument at `index` or called `name`; Undefined when it was not given.
  Value take(size_t index, std::string_view name);
  bool has_more() const;
};

class Evaluator {
 public:
  Evaluator(const Syntax& syntax, Arena& arena, const RenderOptions& options, std::string& out)
      : syntax_(syntax), arena_(arena), options_(options), out_(&out) {}

  void set_global(std::string_view name, const Value& value);
  Status run();

 private:
  enum class Flow : uint8_t { Next, Break, Continue };
  struct Variable {
    NameId name;
    Value value;
  };

  // evaluator.cc
  Flow execute(const Node& node);
  Flow execute_for(const Node& node);
  void execute_set(const Node& node);
  void assign(const Target& target, const Value& value);
  void print(const Node& node);
  std::string captured(const Node& body);
  Value evaluate(const Node& node);
  Value evaluate_inner(const Node& node);
  Value lookup(const Node& node);
  Value choose(const Node& node);
  Value compare(const Node& node);
  Value call(const Node& node);
  Value call_macro(const MacroNode& macro, Arguments& arguments);
  Value call_function(int function, Arguments& arguments);
  Arguments arguments_of(const Node& node);
  size_t enter_scope();
  void leave_scope(size_t start);

  // operators.cc
  Value attribute(const Value& from, std::string_view name);
  Value item(const Value& from, const Value& key);
  Value slice(const Value& from, const Value& start, const Value& stop, const Value& step);
  Value add(const Value& left, const Value& right);
  Value arithmetic(Op op, const Value& left, const Value& right);
  Value negative(const Value& value);
  bool holds(Comparison comparison, const Value& left, const Value& right);
  bool contains(const Value& in, const Value& what);
  int order(const Value& left, const Value& right);  // < 0, 0, > 0

  // filters.cc
  Value filter(std::string_view name, const Value& in, Arguments& arguments);
  Value join(const Value& in, Arguments& arguments);
  Value map(const Value& in, Arguments& arguments);
  Value select(const Value& in, Arguments& arguments, bool by_attribute, bool wanted);
  Value sort(const Value& in, Arguments& arguments);
  Value dict_sort(const Value& in, Arguments& arguments);
  Value to_json(const Value& in, Arguments& arguments);
  Value indent(const Value& in, Arguments& arguments);
  Value to_integer(const Value& in, Arguments& arguments);
  bool test(std::string_view name, const Value& in, Arguments& arguments);

  // methods.cc
  Value call_method(const MethodData& method, Arguments& arguments);
  Value string_method(std::string_view self, std::string_view name, Arguments& arguments);
  Value split(std::string_view self, Arguments& arguments, bool from_right);
  Value stripped(std::string_view self, const Value& characters, bool left, bool right);
  Value cased(std::string_view self, std::string_view how);
  Value replaced(std::string_view self, const Value& find, const Value& with, const Value& count);

  // shared
  std::vector<Value> items_of(const Value& value);  // as `for` sees them
  Value text_value(const Value& value);             // str()
  Value path(const Value& from, const Value& dotted);
  size_t length_of(const Value& value);
  bool wants_text(const Value& value, std::string_view what);
  void refuse(Reason reason, std::string what);
  void mistake(std::string what) { refuse(Reason::TemplateRefused, std::move(what)); }
  void unsupported(std::string what) { refuse(Reason::TemplateUnsupported, std::move(what)); }
  bool failed() const { return failed_; }
  bool charge(size_t steps);
  void keep(const Status& status) {
    if (!status) refuse(status.error().reason, status.error().message);
  }

  const Syntax& syntax_;
  Arena& arena_;
  const RenderOptions& options_;
  std::string* out_;
  std::vector<Variable> variables_;  // innermost last
  size_t scope_ = 0;                 // first variable of the innermost scope
  size_t outer_ = 0;                 // first variable that can be seen besides the top level's
  size_t top_ = 0;                   // end of the top level's variables
  bool in_scope_ = false;
  size_t steps_ = 0;
  size_t depth_ = 0;
  uint32_t line_ = 0;
  bool failed_ = false;
  Error error_;
};

// Functions that every template knows.
enum Function : int { kRange, kNamespace, kDict, kRaiseException, kStrftimeNow, kUnknownFunction };
int find_function(std::string_view name);  // -1 when there is none

}  // namespace tweendeck::routing::chat_template
