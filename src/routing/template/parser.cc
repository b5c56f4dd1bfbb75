#include "routing/template/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <unordered_map>
#include <utility>

#include "routing/template/lexer.h"

namespace tweendeck::routing::chat_template {
namespace {

// Recursive descent. The first error is kept in error_ and every loop ends on it.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Syntax> run() {
    Syntax syntax;
    syntax.root = block({});
    if (error_.message.empty() && !is(Token::Kind::End))
      invalid(fmt::format("'{}' ends nothing", peek(1).text));
    if (!error_.message.empty()) return fail(std::move(error_));
    syntax.names = std::move(names_);
    return syntax;
  }

 private:
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool is(Token::Kind kind) const { return peek().kind == kind; }
  bool is_name(std::string_view name) const { return is(Token::Kind::Name) && peek().text == name; }
  bool is_operator(std::string_view text) const { return is(Token::Kind::Operator) && peek().text == text; }
  bool failed() const { return !error_.message.empty(); }

  Token next() {
    Token token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool skip_name(std::string_view name) {
    if (!is_name(name)) return false;
    next();
    return true;
  }
  bool skip_operator(std::string_view text) {
    if (!is_operator(text)) return false;
    next();
    return true;
  }

  void stop(Reason reason, std::string what) {
    if (failed()) return;
    error_ = {reason, fmt::format("chat template, line {}: {}", peek().line, what), ""};
  }
  void invalid(std::string what) { stop(Reason::TemplateInvalid, std::move(what)); }
  void unsupported(std::string what) { stop(Reason::TemplateUnsupported, std::move(what)); }

  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) invalid(fmt::format("'{}' expected before '{}'", text, peek().text));
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) invalid(fmt::format("'{}' expected before '{}'", name, peek().text));
  }
  std::string expect_any_name() {
    if (is(Token::Kind::Name)) return next().text;
    invalid(fmt::format("a name expected before '{}'", peek().text));
    return {};
  }
  void expect(Token::Kind kind, std::string_view what) {
    if (is(kind)) {
      next();
    } else {
      invalid(fmt::format("{} expected before '{}'", what, peek().text));
    }
  }
  void close_tag() { expect(Token::Kind::CloseTag, "the end of the tag"); }

  NameId id_of(const std::string& name) {
    const auto [found, added] = ids_.try_emplace(name, static_cast<NameId>(names_.size()));
    if (added) names_.push_back(name);
    return found->second;
  }

  NodePtr node(Op op) {
    auto made = std::make_unique<Node>();
    made->op = op;
    made->line = peek().line;
    return made;
  }
  template <class... Kids>
  NodePtr node(Op op, Kids... kids) {
    NodePtr made = node(op);
    (add(made, std::move(kids)), ...);
    return made;
  }
  void add(NodePtr& made, NodePtr kid) {
    count_depth(made, kid);
    made->kids.push_back(std::move(kid));
  }
  // A long chain (a.b.c.d) is a deep tree although nothing recursed to parse it.
  void count_depth(NodePtr& made, const NodePtr& kid) {
    if (kid == nullptr) return;
    made->depth = std::max(made->depth, kid->depth + 1);
    if (made->depth > kMostTemplateDepth) {
      unsupported(fmt::format("nested deeper than {} levels", kMostTemplateDepth));
    }
  }
  NodePtr literal(Value value) {
    NodePtr made = node(Op::Literal);
    made->literal = value;
    return made;
  }

  // Guards recursion: false, with an error, when it is too deep.
  class Depth {
   public:
    explicit Depth(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMostTemplateDepth) {
        parser_.unsupported(fmt::format("nested deeper than {} levels", kMostTemplateDepth));
      }
    }
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Parser& parser_;
  };

  // --- statements

  // Statements up to a tag whose name is in `ends`, which is left as it is behind its OpenTag.
  NodePtr block(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    NodePtr made = node(Op::Block);
    while (!failed() && !is(Token::Kind::End)) {
      if (is(Token::Kind::Text)) {
        NodePtr text = node(Op::Text);
        text->text = next().text;
        add(made, std::move(text));
      } else if (is(Token::Kind::OpenExpression)) {
        next();
        NodePtr output = node(Op::Output, tuple(true));
        expect(Token::Kind::CloseExpression, "}}");
        add(made, std::move(output));
      } else {
        const std::string& name = peek(1).text;
        if (std::find(ends.begin(), ends.end(), name) != ends.end()) {
          next();
          return made;
        }
        if (name.starts_with("end") || name == "else" || name == "elif") break;
        next();
        add(made, statement());
      }
    }
    if (ends.size() > 0 && !failed()) {
      invalid(is(Token::Kind::End)
                  ? fmt::format("a tag is not closed by {}", *(ends.end() - 1))
                  : fmt::format("'{}' where {} is expected", peek(1).text, *(ends.end() - 1)));
    }
    return made;
  }

  NodePtr statement() {
    const std::string name = expect_any_name();
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "filter") return filter_statement();
    if (name == "with") return with_statement();
    if (name == "generation") return generation_statement();
    if (name == "break" || name == "continue") {
      if (loops_ == 0) invalid(fmt::format("'{}' outside of a loop", name));
      NodePtr made = node(name == "break" ? Op::Break : Op::Continue);
      close_tag();
      return made;
    }
    unsupported(fmt::format("the tag '{}' is not known", name));
    return node(Op::Block);
  }

  NodePtr if_statement() {
    const Depth depth(*this);
    NodePtr made = node(Op::If, tuple(true));
    close_tag();
    add(made, block({"elif", "else", "endif"}));
    if (skip_name("elif")) {
      add(made, if_statement());
      return made;
    }
    if (skip_name("else")) {
      close_tag();
      add(made, block({"endif"}));
    } else {
      add(made, nullptr);
    }
    expect_name("endif");
    close_tag();
    return made;
  }

  NodePtr for_statement() {
    NodePtr made = node(Op::For);
    made->targets = targets(false);
    expect_name("in");
    add(made, tuple(false));
    add(made, skip_name("if") ? expression() : nullptr);
    if (is_name("recursive")) unsupported("a recursive loop");
    close_tag();
    ++loops_;
    add(made, block({"else", "endfor"}));
    --loops_;
    if (skip_name("else")) {
      close_tag();
      add(made, block({"endfor"}));
    } else {
      add(made, nullptr);
    }
    expect_name("endfor");
    close_tag();
    return made;
  }

  std::vector<Target> targets(bool with_attribute) {
    std::vector<Target> found;
    const bool parenthesis = skip_operator("(");
    do {
      if (is_name("in") && !found.empty()) break;
      Target target;
      target.name = id_of(expect_any_name());
      if (with_attribute && skip_operator(".")) target.attribute = expect_any_name();
      found.push_back(std::move(target));
    } while (!failed() && skip_operator(","));
    if (parenthesis) expect_operator(")");
    return found;
  }

  NodePtr set_statement() {
    NodePtr made = node(Op::Set);
    made->targets = targets(true);
    if (skip_operator("=")) {
      add(made, tuple(true));
      close_tag();
      return made;
    }
    made->op = Op::SetBlock;
    if (made->targets.size() != 1) invalid("a set block has more than one name");
    NodePtr filters = is_operator("|") ? filter_chain(nullptr) : nullptr;
    close_tag();
    add(made, block({"endset"}));
    add(made, std::move(filters));
    expect_name("endset");
    close_tag();
    return made;
  }

  NodePtr filter_statement() {
    NodePtr made = node(Op::FilterBlock);
    NodePtr filter = one_filter(nullptr);
    filter = filter_chain(std::move(filter));
    close_tag();
    add(made, block({"endfilter"}));
    add(made, std::move(filter));
    expect_name("endfilter");
    close_tag();
    return made;
  }

  NodePtr with_statement() {
    NodePtr scope = node(Op::Scope);
    while (!failed() && !is(Token::Kind::CloseTag)) {
      if (!scope->kids.empty()) expect_operator(",");
      NodePtr set = node(Op::Set);
      set->targets.push_back({id_of(expect_any_name()), {}});
      expect_operator("=");
      set->kids.push_back(expression());
      add(scope, std::move(set));
    }
    if (scope->kids.size() > 1) unsupported("a 'with' of several names");
    close_tag();
    add(scope, block({"endwith"}));
    expect_name("endwith");
    close_tag();
    return scope;
  }

  // Marks what the model is trained on; engines print its body.
  NodePtr generation_statement() {
    close_tag();
    NodePtr scope = node(Op::Scope, block({"endgeneration"}));
    expect_name("endgeneration");
    close_tag();
    return scope;
  }

  NodePtr macro_statement() {
    NodePtr made = node(Op::Macro);
    auto macro = std::make_unique<MacroNode>();
    macro->spelled = expect_any_name();
    macro->name = id_of(macro->spelled);
    expect_operator("(");
    while (!failed() && !is_operator(")")) {
      if (!macro->parameters.empty()) expect_operator(",");
      macro->parameter_names.push_back(expect_any_name());
      macro->parameters.push_back(id_of(macro->parameter_names.back()));
      macro->defaults.push_back(skip_operator("=") ? expression() : nullptr);
    }
    expect_operator(")");
    close_tag();
    const int loops = std::exchange(loops_, 0);
    macro->body = block({"endmacro"});
    loops_ = loops;
    expect_name("endmacro");
    skip_name(macro->spelled);
    close_tag();
    made->macro = std::move(macro);
    return made;
  }

  // --- expressions, loosest first

  // a, b, c is a tuple; `with_choice`: whether `x if y else z` may stand there.
  NodePtr tuple(bool with_choice) {
    NodePtr first = with_choice ? expression() : either();
    if (!is_operator(",")) return first;
    NodePtr made = node(Op::TupleOf, std::move(first));
    while (!failed() && skip_operator(",")) {
      if (is(Token::Kind::CloseTag) || is(Token::Kind::CloseExpression)) break;
      add(made, with_choice ? expression() : either());
    }
    return made;
  }

  NodePtr expression() {
    const Depth depth(*this);
    NodePtr made = either();
    while (!failed() && skip_name("if")) {
      NodePtr condition = either();
      NodePtr otherwise = skip_name("else") ? expression() : nullptr;
      made = node(Op::Choose, std::move(condition), std::move(made), std::move(otherwise));
    }
    return made;
  }

  NodePtr either() {
    NodePtr made = both();
    while (!failed() && skip_name("or")) made = node(Op::Or, std::move(made), both());
    return made;
  }
  NodePtr both() {
    NodePtr made = negation();
    while (!failed() && skip_name("and")) made = node(Op::And, std::move(made), negation());
    return made;
  }
  NodePtr negation() {
    const Depth depth(*this);
    if (!failed() && skip_name("not")) return node(Op::Not, negation());
    return comparison();
  }

  bool comparison_operator(Comparison& found) {
    constexpr std::pair<std::string_view, Comparison> kKnown[] = {
        {"==", Comparison::Equal},     {"!=", Comparison::NotEqual}, {"<", Comparison::Less},
        {"<=", Comparison::LessEqual}, {">", Comparison::Greater},   {">=", Comparison::GreaterEqual}};
    for (const auto& [text, comparison] : kKnown) {
      if (!skip_operator(text)) continue;
      found = comparison;
      return true;
    }
    if (skip_name("in")) {
      found = Comparison::In;
      return true;
    }
    if (!is_name("not") || peek(1).kind != Token::Kind::Name || peek(1).text != "in") return false;
    next();
    next();
    found = Comparison::NotIn;
    return true;
  }

  NodePtr comparison() {
    NodePtr first = sum();
    Comparison found{};
    if (failed() || !comparison_operator(found)) return first;
    NodePtr made = node(Op::Compare, std::move(first));
    do {
      made->compares.push_back(found);
      add(made, sum());
    } while (!failed() && comparison_operator(found));
    return made;
  }

  NodePtr sum() {
    NodePtr made = concat();
    while (!failed()) {
      if (skip_operator("+")) {
        if (made->op != Op::Sum) made = node(Op::Sum, std::move(made));
        add(made, concat());
      } else if (skip_operator("-")) {
        made = node(Op::Subtract, std::move(made), concat());
      } else {
        break;
      }
    }
    return made;
  }

  NodePtr concat() {
    NodePtr made = product();
    if (!is_operator("~")) return made;
    made = node(Op::Concat, std::move(made));
    while (!failed() && skip_operator("~")) add(made, product());
    return made;
  }

  NodePtr product() {
    constexpr std::pair<std::string_view, Op> kKnown[] = {
        {"*", Op::Multiply}, {"//", Op::FloorDivide}, {"/", Op::Divide}, {"%", Op::Modulo}};
    NodePtr made = power();
    for (bool more = true; more && !failed();) {
      more = false;
      for (const auto& [text, op] : kKnown) {
        if (!skip_operator(text)) continue;
        made = node(op, std::move(made), power());
        more = true;
        break;
      }
    }
    return made;
  }

  NodePtr power() {
    NodePtr made = unary(true);
    while (!failed() && skip_operator("**")) made = node(Op::Power, std::move(made), unary(true));
    return made;
  }

  NodePtr unary(bool with_filters) {
    const Depth depth(*this);
    if (failed()) return literal(Value::none());
    NodePtr made;
    if (skip_operator("-")) {
      made = node(Op::Negative, unary(false));
    } else if (skip_operator("+")) {
      made = node(Op::Positive, unary(false));
    } else {
      made = primary();
    }
    made = postfix(std::move(made));
    return with_filters ? filters_and_tests(std::move(made)) : std::move(made);
  }

  NodePtr primary() {
    const Token token = next();
    switch (token.kind) {
      case Token::Kind::Name:
        return name(token.text);
      case Token::Kind::String: {
        NodePtr made = literal(Value());
        made->text = token.text;
        while (is(Token::Kind::String)) made->text += next().text;
        made->literal = Value::of(std::string_view(made->text));
        return made;
      }
      case Token::Kind::Integer: {
        int64_t value = 0;
        const auto [end, error] =
            std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
        if (error != std::errc() || end != token.text.data() + token.text.size()) {
          unsupported(fmt::format("the number {}", token.text));
        }
        return literal(Value::of(value));
      }
      case Token::Kind::Float:
        return literal(Value::of(std::strtod(token.text.c_str(), nullptr)));
      case Token::Kind::Operator:
        if (token.text == "(") return parenthesis();
        if (token.text == "[") return list();
        if (token.text == "{") return dict();
        [[fallthrough]];
      default:
        invalid(fmt::format("'{}' where a value is expected", token.text));
        return literal(Value::none());
    }
  }

  NodePtr name(const std::string& spelled) {
    if (spelled == "true" || spelled == "True") return literal(Value::of(true));
    if (spelled == "false" || spelled == "False") return literal(Value::of(false));
    if (spelled == "none" || spelled == "None") return literal(Value::none());
    NodePtr made = node(Op::Name);
    made->name = id_of(spelled);
    made->text = spelled;
    return made;
  }

  NodePtr parenthesis() {
    if (skip_operator(")")) return node(Op::TupleOf);
    NodePtr first = expression();
    if (skip_operator(")")) return first;
    NodePtr made = node(Op::TupleOf, std::move(first));
    while (!failed() && skip_operator(",")) {
      if (is_operator(")")) break;
      add(made, expression());
    }
    expect_operator(")");
    return made;
  }

  NodePtr list() {
    NodePtr made = node(Op::ListOf);
    while (!failed() && !is_operator("]")) {
      if (!made->kids.empty()) expect_operator(",");
      if (is_operator("]")) break;
      add(made, expression());
    }
    expect_operator("]");
    return made;
  }

  NodePtr dict() {
    NodePtr made = node(Op::DictOf);
    while (!failed() && !is_operator("}")) {
      if (!made->kids.empty()) expect_operator(",");
      if (is_operator("}")) break;
      add(made, expression());
      expect_operator(":");
      add(made, expression());
    }
    expect_operator("}");
    return made;
  }

  NodePtr postfix(NodePtr made) {
    while (!failed()) {
      if (skip_operator(".")) {
        if (is(Token::Kind::Integer)) {
          made = node(Op::Item, std::move(made), primary());
          continue;
        }
        made = node(Op::Attribute, std::move(made));
        made->text = expect_any_name();
      } else if (skip_operator("[")) {
        made = subscript(std::move(made));
      } else if (is_operator("(")) {
        made = node(Op::Call, std::move(made));
        take_arguments(made);
      } else {
        break;
      }
    }
    return made;
  }

  NodePtr subscript(NodePtr from) {
    NodePtr parts[3];
    size_t count = 0;
    bool is_slice = false;
    while (!failed() && !is_operator("]")) {
      if (skip_operator(":")) {
        is_slice = true;
        if (++count > 2) invalid("a slice has too many parts");
      } else {
        parts[std::min<size_t>(count, 2)] = expression();
        if (is_operator(",")) unsupported("a subscript of several values");
        if (!is_operator(":") && !is_operator("]")) {
          invalid(fmt::format("']' expected before '{}'", peek().text));
        }
      }
    }
    expect_operator("]");
    if (is_slice)
      return node(Op::Slice, std::move(from), std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
    if (parts[0] == nullptr) invalid("a subscript is empty");
    return node(Op::Item, std::move(from), std::move(parts[0]));
  }

  void take_arguments(NodePtr& made) {
    auto& found = made->arguments;
    expect_operator("(");
    while (!failed() && !is_operator(")")) {
      if (!found.empty()) expect_operator(",");
      if (is_operator(")")) break;
      if (is_operator("*") || is_operator("**")) unsupported("a call with * or **");
      std::string keyword;
      if (is(Token::Kind::Name) && peek(1).kind == Token::Kind::Operator && peek(1).text == "=") {
        keyword = next().text;
        next();
      } else if (!found.empty() && !found.back().first.empty()) {
        invalid("an argument without a name follows one with a name");
      }
      found.emplace_back(std::move(keyword), expression());
      count_depth(made, found.back().second);
    }
    expect_operator(")");
  }

  NodePtr one_filter(NodePtr from) {
    NodePtr made = node(Op::Filter, std::move(from));
    made->text = expect_any_name();
    while (skip_operator(".")) made->text += "." + expect_any_name();
    if (is_operator("(")) take_arguments(made);
    return made;
  }
  NodePtr filter_chain(NodePtr from) {
    while (!failed() && skip_operator("|")) from = one_filter(std::move(from));
    return from;
  }

  NodePtr one_test(NodePtr from) {
    const bool inverted = skip_name("not");
    NodePtr made = node(Op::Test, std::move(from));
    made->text = expect_any_name();
    const bool stops = is_name("else") || is_name("or") || is_name("and");
    if (is_operator("(")) {
      take_arguments(made);
    } else if (!stops && (is(Token::Kind::Name) || is(Token::Kind::String) || is(Token::Kind::Integer) ||
                          is(Token::Kind::Float) || is_operator("[") || is_operator("{"))) {
      if (is_name("is")) invalid("tests cannot be chained with is");
      made->arguments.emplace_back("", postfix(primary()));
      count_depth(made, made->arguments.back().second);
    }
    return inverted ? node(Op::Not, std::move(made)) : std::move(made);
  }

  NodePtr filters_and_tests(NodePtr made) {
    while (!failed()) {
      if (skip_operator("|")) {
        made = one_filter(std::move(made));
      } else if (skip_name("is")) {
        made = one_test(std::move(made));
      } else if (is_operator("(")) {
        made = node(Op::Call, std::move(made));
        take_arguments(made);
      } else {
        break;
      }
    }
    return made;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t depth_ = 0;
  int loops_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, NameId> ids_;
  Error error_{Reason::TemplateInvalid, "", ""};
};

}  // namespace

Result<Syntax> parse_template(std::string_view source) {
  auto tokens = tokenize_template(source);
  if (!tokens) return fail(tokens.error());
  return Parser(std::move(*tokens)).run();
}

}  // namespace tweendeck::routing::chat_template
