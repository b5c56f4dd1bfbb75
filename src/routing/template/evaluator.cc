#include "routing/template/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "routing/template/python_text.h"
#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::chat_template {
namespace {

constexpr size_t kMostDepth = 500;  // of nodes in nodes, calls of macros included
constexpr size_t kMostRange = 100'000;

constexpr std::pair<std::string_view, int> kFunctions[] = {
    {"range", kRange},
    {"namespace", kNamespace},
    {"dict", kDict},
    {"raise_exception", kRaiseException},
    {"strftime_now", kStrftimeNow},
    {"lipsum", kUnknownFunction},
    {"cycler", kUnknownFunction},
    {"joiner", kUnknownFunction},
};

Value undefined(const std::string& name) {
  Value value;
  value.bytes = name.c_str();
  return value;
}

// strftime's letters that chat templates use, in the C locale.
Result<std::string> format_now(std::string_view format, int64_t now_s) {
  constexpr std::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
  constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
  const auto seconds = static_cast<time_t>(now_s);
  std::tm now{};
  gmtime_r(&seconds, &now);
  const auto day = static_cast<size_t>(now.tm_wday), month = static_cast<size_t>(now.tm_mon);
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out += format[at];
      continue;
    }
    switch (format[++at]) {
      case 'd':
        out += fmt::format("{:02}", now.tm_mday);
        break;
      case 'm':
        out += fmt::format("{:02}", now.tm_mon + 1);
        break;
      case 'Y':
        out += fmt::format("{}", now.tm_year + 1900);
        break;
      case 'y':
        out += fmt::format("{:02}", now.tm_year % 100);
        break;
      case 'H':
        out += fmt::format("{:02}", now.tm_hour);
        break;
      case 'M':
        out += fmt::format("{:02}", now.tm_min);
        break;
      case 'S':
        out += fmt::format("{:02}", now.tm_sec);
        break;
      case 'A':
        out += kDays[day];
        break;
      case 'a':
        out += kDays[day].substr(0, 3);
        break;
      case 'B':
        out += kMonths[month];
        break;
      case 'b':
        out += kMonths[month].substr(0, 3);
        break;
      case '%':
        out += '%';
        break;
      default:
        return fail(Reason::TemplateUnsupported, fmt::format("strftime_now with %{}", format[at]));
    }
  }
  return out;
}

}  // namespace

int find_function(std::string_view name) {
  for (const auto& [known, function] : kFunctions) {
    if (known == name) return function;
  }
  return -1;
}

Value Arguments::take(size_t index, std::string_view name) {
  most = std::max(most, index + 1);
  asked.push_back(name);
  if (index < positional.size()) return positional[index];
  for (const auto& [known, value] : named) {
    if (known == name) return value;
  }
  return {};
}

bool Arguments::has_more() const {
  return positional.size() > most || std::ranges::any_of(named, [&](const auto& one) {
           return std::ranges::find(asked, one.first) == asked.end();
         });
}

void Evaluator::refuse(Reason reason, std::string what) {
  if (failed_) return;
  failed_ = true;
  error_ = {reason, fmt::format("chat template, line {}: {}", line_, what), ""};
}

bool Evaluator::charge(size_t steps) {
  steps_ += steps;
  if (steps_ > options_.most_steps)
    refuse(Reason::LimitExceeded, fmt::format("more than {} steps", options_.most_steps));
  if (arena_.full())
    refuse(Reason::LimitExceeded, fmt::format("more than {} bytes of values", options_.most_bytes));
  if (out_->size() > options_.most_output_bytes) {
    refuse(Reason::LimitExceeded, fmt::format("more than {} bytes of text", options_.most_output_bytes));
  }
  return !failed_;
}

void Evaluator::set_global(std::string_view name, const Value& value) {
  const auto found = std::find(syntax_.names.begin(), syntax_.names.end(), name);
  if (found == syntax_.names.end()) return;
  assign({static_cast<NameId>(found - syntax_.names.begin()), {}}, value);
}

Status Evaluator::run() {
  execute(*syntax_.root);
  charge(0);
  if (failed_) return fail(std::move(error_));
  return {};
}

size_t Evaluator::enter_scope() {
  const size_t outer = scope_;
  if (!in_scope_) top_ = variables_.size();
  in_scope_ = true;
  scope_ = variables_.size();
  return outer;
}

void Evaluator::leave_scope(size_t start) {
  variables_.resize(scope_);
  scope_ = start;
  in_scope_ = scope_ != 0;
}

Evaluator::Flow Evaluator::execute(const Node& node) {
  if (!charge(1)) return Flow::Next;
  line_ = node.line;
  switch (node.op) {
    case Op::Text:
      *out_ += node.text;
      return Flow::Next;
    case Op::Output:
      print(*node.kids[0]);
      return Flow::Next;
    case Op::Block:
      for (const NodePtr& kid : node.kids) {
        const Flow flow = execute(*kid);
        if (flow != Flow::Next || failed_) return flow;
      }
      return Flow::Next;
    case Op::If: {
      const bool holds = is_true(evaluate(*node.kids[0]));
      const Node* branch = node.kids[holds ? 1 : 2].get();
      return branch == nullptr || failed_ ? Flow::Next : execute(*branch);
    }
    case Op::For:
      return execute_for(node);
    case Op::Set:
      execute_set(node);
      return Flow::Next;
    case Op::SetBlock:
    case Op::FilterBlock: {
      Value text = arena_.text(captured(*node.kids[0]));
      // The innermost filter of the chain has no operand; the text is it.
      std::vector<const Node*> chain;
      for (const Node* one = node.kids[1].get(); one != nullptr; one = one->kids[0].get())
        chain.push_back(one);
      for (auto one = chain.rbegin(); one != chain.rend(); ++one) {
        Arguments arguments = arguments_of(**one);
        text = filter((*one)->text, text, arguments);
      }
      if (node.op == Op::SetBlock) {
        assign(node.targets[0], text);
      } else {
        keep(append_str(text, *out_));
      }
      return Flow::Next;
    }
    case Op::Macro: {
      Value macro;
      macro.kind = Kind::Macro;
      macro.macro = node.macro.get();
      assign({node.macro->name, {}}, macro);
      return Flow::Next;
    }
    case Op::Scope: {
      const size_t outer = enter_scope();
      Flow flow = Flow::Next;
      for (const NodePtr& kid : node.kids) {
        flow = execute(*kid);
        if (flow != Flow::Next || failed_) break;
      }
      leave_scope(outer);
      return flow;
    }
    case Op::Break:
      return Flow::Break;
    case Op::Continue:
      return Flow::Continue;
    default:
      return Flow::Next;
  }
}

Evaluator::Flow Evaluator::execute_for(const Node& node) {
  const Value over = evaluate(*node.kids[0]);
  std::vector<Value> items = items_of(over);
  if (failed_) return Flow::Next;
  const auto bind = [&](const Value& item) {
    if (node.targets.size() == 1) return assign(node.targets[0], item);
    if (!item.is_sequence() || item.size() != node.targets.size()) {
      return mistake(
          fmt::format("a {} cannot be unpacked into {} names", type_name(item), node.targets.size()));
    }
    for (size_t at = 0; at < item.size(); ++at) assign(node.targets[at], item.begin()[at]);
  };
  const size_t outer = enter_scope();
  if (node.kids[1] != nullptr) {
    std::erase_if(items, [&](const Value& item) {
      variables_.resize(scope_);
      bind(item);
      return failed_ || !is_true(evaluate(*node.kids[1]));
    });
  }
  Loop* loop = arena_.make<Loop>();
  const auto name = std::find(syntax_.names.begin(), syntax_.names.end(), "loop");
  Flow flow = Flow::Next;
  if (loop != nullptr) *loop = {items.data(), items.size(), 0};
  for (size_t at = 0; at < items.size() && flow != Flow::Break && charge(1) && loop != nullptr; ++at) {
    variables_.resize(scope_);
    loop->index0 = at;
    if (name != syntax_.names.end()) {
      Value value;
      value.kind = Kind::Loop;
      value.loop = loop;
      assign({static_cast<NameId>(name - syntax_.names.begin()), {}}, value);
    }
    bind(items[at]);
    if (!failed_) flow = execute(*node.kids[2]);
  }
  leave_scope(outer);
  if (loop != nullptr) *loop = {};  // nothing points to the items any more
  if (items.empty() && node.kids[3] != nullptr && !failed_) {
    const size_t start = enter_scope();
    flow = execute(*node.kids[3]);
    leave_scope(start);
    return flow;
  }
  return Flow::Next;
}

void Evaluator::execute_set(const Node& node) {
  const Value value = evaluate(*node.kids[0]);
  if (node.targets.size() == 1) return assign(node.targets[0], value);
  const std::vector<Value> items = items_of(value);
  if (items.size() != node.targets.size()) {
    return mistake(fmt::format("{} values for {} names", items.size(), node.targets.size()));
  }
  for (size_t at = 0; at < items.size(); ++at) assign(node.targets[at], items[at]);
}

void Evaluator::assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    for (size_t at = variables_.size(); at-- > 0;) {
      const Variable& variable = variables_[at];
      if (variable.name != target.name || (at < outer_ && at >= top_)) continue;
      if (!variable.value.is(Kind::Namespace)) break;
      std::vector<Member>& members = variable.value.space->members;
      const auto found = std::ranges::find_if(
          members, [&](const Member& member) { return member.key.text() == target.attribute; });
      if (found != members.end()) {
        found->value = value;
      } else {
        members.push_back({Value::of(std::string_view(target.attribute)), value});
      }
      return;
    }
    return mistake(fmt::format("{} is no namespace, so its {} cannot be set", syntax_.names[target.name],
                               target.attribute));
  }
  for (size_t at = scope_; at < variables_.size(); ++at) {
    if (variables_[at].name == target.name) {
      variables_[at].value = value;
      return;
    }
  }
  variables_.push_back({target.name, value});
}

// Sums of texts, which most outputs are, are written part by part.
void Evaluator::print(const Node& node) {
  if (node.op == Op::Choose) {
    const bool holds = is_true(evaluate(*node.kids[0]));
    if (failed_) return;
    if (holds || node.kids[2] != nullptr) print(*node.kids[holds ? 1 : 2]);
    return;
  }
  if (node.op == Op::Sum) {
    std::vector<Value> values;
    for (const NodePtr& kid : node.kids) values.push_back(evaluate(*kid));
    if (failed_) return;
    if (std::ranges::all_of(values, [](const Value& value) { return value.is_string(); })) {
      for (const Value& value : values) *out_ += value.text();
      return;
    }
    Value sum = values[0];
    for (size_t at = 1; at < values.size(); ++at) sum = add(sum, values[at]);
    if (!failed_) keep(append_str(sum, *out_));
    return;
  }
  const Value value = evaluate(node);
  if (!failed_) keep(append_str(value, *out_));
}

std::string Evaluator::captured(const Node& body) {
  std::string text;
  std::string* outer = std::exchange(out_, &text);
  const size_t start = enter_scope();
  execute(body);
  leave_scope(start);
  out_ = outer;
  return text;
}

Value Evaluator::evaluate(const Node& node) {
  if (!charge(1)) return {};
  if (++depth_ > kMostDepth)
    refuse(Reason::LimitExceeded, fmt::format("nested deeper than {} levels", kMostDepth));
  Value value = failed_ ? Value() : evaluate_inner(node);
  --depth_;
  return value;
}

Value Evaluator::evaluate_inner(const Node& node) {
  switch (node.op) {
    case Op::Literal:
      return node.literal;
    case Op::Name:
      return lookup(node);
    case Op::ListOf:
    case Op::TupleOf: {
      std::vector<Value> items;
      for (const NodePtr& kid : node.kids) items.push_back(evaluate(*kid));
      return arena_.list(items, node.op == Op::ListOf ? Kind::List : Kind::Tuple);
    }
    case Op::DictOf: {
      std::vector<Member> members;
      for (size_t at = 0; at + 1 < node.kids.size(); at += 2) {
        const Value key = evaluate(*node.kids[at]), value = evaluate(*node.kids[at + 1]);
        const auto same =
            std::ranges::find_if(members, [&](const Member& member) { return equal(member.key, key); });
        if (same != members.end()) {
          same->value = value;
        } else {
          members.push_back({key, value});
        }
      }
      return arena_.dict(members);
    }
    case Op::Attribute:
      return attribute(evaluate(*node.kids[0]), node.text);
    case Op::Item: {
      const Value from = evaluate(*node.kids[0]);
      return item(from, evaluate(*node.kids[1]));
    }
    case Op::Slice: {
      Value parts[4];
      for (size_t at = 0; at < 4; ++at)
        parts[at] = node.kids[at] == nullptr ? Value::none() : evaluate(*node.kids[at]);
      return slice(parts[0], parts[1], parts[2], parts[3]);
    }
    case Op::Call:
      return call(node);
    case Op::Filter: {
      const Value in = evaluate(*node.kids[0]);
      Arguments arguments = arguments_of(node);
      if (failed_) return {};
      return filter(node.text, in, arguments);
    }
    case Op::Test: {
      const Value in = evaluate(*node.kids[0]);
      Arguments arguments = arguments_of(node);
      return failed_ ? Value() : Value::of(test(node.text, in, arguments));
    }
    case Op::Not:
      return Value::of(!is_true(evaluate(*node.kids[0])));
    case Op::Negative:
    case Op::Positive: {
      const Value value = evaluate(*node.kids[0]);
      if (!value.is_number()) mistake(fmt::format("bad operand for a sign: {}", type_name(value)));
      return node.op == Op::Negative ? negative(value) : value;
    }
    case Op::And: {
      const Value left = evaluate(*node.kids[0]);
      return is_true(left) ? evaluate(*node.kids[1]) : left;
    }
    case Op::Or: {
      const Value left = evaluate(*node.kids[0]);
      return is_true(left) ? left : evaluate(*node.kids[1]);
    }
    case Op::Choose:
      return choose(node);
    case Op::Sum: {
      Value sum = evaluate(*node.kids[0]);
      for (size_t at = 1; at < node.kids.size() && !failed_; ++at) sum = add(sum, evaluate(*node.kids[at]));
      return sum;
    }
    case Op::Concat: {
      std::string text;
      for (const NodePtr& kid : node.kids) {
        const Value value = evaluate(*kid);
        if (!failed_) keep(append_str(value, text));
      }
      return arena_.text(text);
    }
    case Op::Compare:
      return compare(node);
    default: {
      const Value left = evaluate(*node.kids[0]);
      const Value right = evaluate(*node.kids[1]);
      return failed_ ? Value() : arithmetic(node.op, left, right);
    }
  }
}

Value Evaluator::lookup(const Node& node) {
  for (size_t at = variables_.size(); at-- > outer_;) {
    if (variables_[at].name == node.name) return variables_[at].value;
  }
  for (size_t at = std::min(top_, std::min(outer_, variables_.size())); at-- > 0;) {
    if (variables_[at].name == node.name) return variables_[at].value;
  }
  const int function = find_function(node.text);
  if (function < 0) return undefined(syntax_.names[node.name]);
  Value value;
  value.kind = Kind::Function;
  value.function = function;
  return value;
}

Value Evaluator::choose(const Node& node) {
  const bool holds = is_true(evaluate(*node.kids[0]));
  if (holds) return evaluate(*node.kids[1]);
  return node.kids[2] == nullptr ? Value() : evaluate(*node.kids[2]);
}

Value Evaluator::compare(const Node& node) {
  Value left = evaluate(*node.kids[0]);
  for (size_t at = 0; at < node.compares.size(); ++at) {
    const Value right = evaluate(*node.kids[at + 1]);
    if (failed_ || !holds(node.compares[at], left, right)) return Value::of(false);
    left = right;
  }
  return Value::of(true);
}

Arguments Evaluator::arguments_of(const Node& node) {
  Arguments arguments;
  for (const auto& [name, value] : node.arguments) {
    if (name.empty()) {
      arguments.positional.push_back(evaluate(*value));
    } else {
      arguments.named.emplace_back(name, evaluate(*value));
    }
  }
  return arguments;
}

Value Evaluator::call(const Node& node) {
  const Value callee = evaluate(*node.kids[0]);
  Arguments arguments = arguments_of(node);
  if (failed_) return {};
  switch (callee.kind) {
    case Kind::Macro:
      return call_macro(*callee.macro, arguments);
    case Kind::Function:
      return call_function(callee.function, arguments);
    case Kind::Method:
      return call_method(*callee.method, arguments);
    case Kind::Undefined:
      mistake(
          fmt::format("'{}' is undefined, and called", callee.bytes == nullptr ? "a value" : callee.bytes));
      return {};
    default:
      mistake(fmt::format("a {} cannot be called", type_name(callee)));
      return {};
  }
}

Value Evaluator::call_macro(const MacroNode& macro, Arguments& arguments) {
  std::vector<Value> values;
  for (size_t at = 0; at < macro.parameters.size(); ++at)
    values.push_back(arguments.take(at, macro.parameter_names[at]));
  if (arguments.has_more()) {
    mistake(fmt::format("the macro {} has no such arguments", macro.spelled));
    return {};
  }
  std::string text;
  std::string* out = std::exchange(out_, &text);
  const size_t outer = enter_scope();
  const size_t hidden = std::exchange(outer_, scope_);
  for (size_t at = 0; at < values.size(); ++at) {
    const bool given =
        at < arguments.positional.size() ||
        std::ranges::any_of(
            arguments.named, [&](const auto& one) { return one.first == macro.parameter_names[at]; });
    if (!given && macro.defaults[at] != nullptr) values[at] = evaluate(*macro.defaults[at]);
    variables_.push_back({macro.parameters[at], values[at]});
  }
  if (++depth_ > kMostDepth)
    refuse(Reason::LimitExceeded, fmt::format("nested deeper than {} levels", kMostDepth));
  if (!failed_) execute(*macro.body);
  --depth_;
  outer_ = hidden;
  leave_scope(outer);
  out_ = out;
  return arena_.text(text);
}

Value Evaluator::call_function(int function, Arguments& arguments) {
  switch (function) {
    case kRange: {
      const Value a = arguments.take(0, "start"), b = arguments.take(1, "stop"),
                  c = arguments.take(2, "step");
      const auto number = [](const Value& value, int64_t fallback) {
        return value.is(Kind::Integer) ? value.integer : fallback;
      };
      if (!a.is(Kind::Integer) || arguments.has_more()) break;
      const bool one = b.is(Kind::Undefined);
      const int64_t start = one ? 0 : a.integer, stop = one ? a.integer : number(b, 0), step = number(c, 1);
      std::vector<Value> items;
      if (step == 0) break;
      for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
        if (items.size() > kMostRange) {
          refuse(Reason::LimitExceeded, fmt::format("a range of more than {} numbers", kMostRange));
          return {};
        }
        items.push_back(Value::of(at));
        if (__builtin_add_overflow(at, step, &at)) break;
      }
      charge(items.size());
      return arena_.list(items);
    }
    case kNamespace: {
      Value space = arena_.name_space();
      for (const Value& value : arguments.positional) {
        if (!value.is(Kind::Dict)) mistake("a namespace is made of a dict or of names");
        if (failed_) return {};
        space.space->members.assign(value.dict->members, value.dict->members + value.dict->size);
      }
      for (const auto& [name, value] : arguments.named)
        space.space->members.push_back({Value::of(name), value});
      return space;
    }
    case kDict: {
      std::vector<Member> members;
      for (const auto& [name, value] : arguments.named) members.push_back({Value::of(name), value});
      if (!arguments.positional.empty()) break;
      return arena_.dict(members);
    }
    case kRaiseException: {
      std::string text;
      keep(append_str(arguments.take(0, "message"), text));
      mistake(text.empty() ? "raise_exception" : text);
      return {};
    }
    case kStrftimeNow: {
      const Value format = arguments.take(0, "format");
      if (!wants_text(format, "strftime_now")) return {};
      auto text = format_now(format.text(), options_.now_s);
      if (!text) unsupported(text.error().message);
      return text ? arena_.text(*text) : Value();
    }
    default:
      break;
  }
  unsupported("a function, or arguments of it, that is not known");
  return {};
}

bool Evaluator::wants_text(const Value& value, std::string_view what) {
  if (!value.is_string()) mistake(fmt::format("{} wants a str, not a {}", what, type_name(value)));
  return value.is_string();
}

Value Evaluator::text_value(const Value& value) {
  if (value.is_string()) return value;
  std::string text;
  keep(append_str(value, text));
  return arena_.text(text);
}

std::vector<Value> Evaluator::items_of(const Value& value) {
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::Undefined:
      break;
    case Kind::List:
    case Kind::Tuple:
      items.assign(value.begin(), value.end());
      break;
    case Kind::Dict:
      for (size_t at = 0; at < value.dict->size; ++at) items.push_back(value.dict->members[at].key);
      break;
    case Kind::String:
      for (size_t at = 0; at < value.length;) {
        const size_t length = tokenizer::decode(value.bytes + at).length;
        items.push_back(Value::of(value.text().substr(at, length)));
        at += length;
      }
      break;
    default:
      mistake(fmt::format("a {} cannot be gone through", type_name(value)));
  }
  charge(items.size());
  return items;
}

}  // namespace tweendeck::routing::chat_template
