// The tree of a parsed template. Names are numbered, so that looking one up compares no text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "routing/template/value.h"

namespace tweendeck::routing::chat_template {

using NameId = uint32_t;

struct Node;
using NodePtr = std::unique_ptr<Node>;

enum class Op : uint8_t {
  // expressions
  Literal,    // literal
  Name,       // name
  ListOf,     // kids
  TupleOf,    // kids
  DictOf,     // kids: key, value, key, value, ...
  Attribute,  // kids[0] . text
  Item,       // kids[0] [ kids[1] ]
  Slice,      // kids[0] [ kids[1] : kids[2] : kids[3] ], each may be null
  Call,       // kids[0] ( arguments )
  Filter,     // kids[0] | text ( arguments ); kids[0] is null in a filter block
  Test,       // kids[0] is text ( arguments )
  Not,
  Negative,
  Positive,
  And,
  Or,
  Choose,  // kids: condition, then, else or null
  Sum,     // kids joined by + from the left
  Concat,  // kids joined by ~
  Subtract,
  Multiply,
  Divide,
  FloorDivide,
  Modulo,
  Power,
  Compare,  // kids[0], then kids[i] compared by compares[i - 1]
  // statements
  Text,         // text
  Output,       // kids
  If,           // kids: condition, then, else or null
  For,          // targets in kids[0], only kids[1] or null; body kids[2]; else kids[3] or null
  Set,          // targets = kids[0]
  SetBlock,     // targets[0] = body kids[0] through the filter kids[1] or null
  FilterBlock,  // body kids[0] through the filter kids[1]
  Macro,        // macro
  Scope,        // kids in a scope of its own
  Block,        // kids one after another
  Break,
  Continue,
};

enum class Comparison : uint8_t { Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, In, NotIn };

// What is assigned to: a name, or an attribute of a namespace.
struct Target {
  NameId name = 0;
  std::string attribute;  // "" = the name itself
};

struct Node {
  Op op;
  uint32_t line = 0;
  uint32_t depth = 0;  // of the kids it was made with
  NameId name = 0;
  std::string text;
  Value literal;
  std::vector<NodePtr> kids;
  std::vector<Comparison> compares;
  std::vector<std::pair<std::string, NodePtr>> arguments;  // of calls, filters and tests; "" = by position
  std::vector<Target> targets;
  std::unique_ptr<MacroNode> macro;
};

struct MacroNode {
  NameId name = 0;
  std::string spelled;
  std::vector<NameId> parameters;
  std::vector<std::string> parameter_names;
  std::vector<NodePtr> defaults;  // as many as parameters; null: none
  NodePtr body;
};

struct Syntax {
  NodePtr root;
  std::vector<std::string> names;  // by NameId
};

}  // namespace tweendeck::routing::chat_template
