#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/operators.h"
#include "coordinator/text/jinja/renderer.h"
#include "coordinator/text/jinja/renderer_level.h"

// The renderer's expressions.

namespace barn::jinja {
namespace {

// Lists in lists: what prints, compares and destroys them recurses.
constexpr int kValueDepthMax = 200;

}  // namespace

Value Renderer::Evaluate(const Expression& expression) {
  const Level level(*this, expression.line);
  if (!Charge(0)) return Value();
  Value value = EvaluateKind(expression);
  if (value.depth() > kValueDepthMax) return Fail(absl::StrCat("lists nested deeper than ", kValueDepthMax));
  return value;
}

Value Renderer::EvaluateKind(const Expression& expression) {
  switch (expression.kind) {
    case ExpressionKind::kLiteral:
      return expression.value;
    case ExpressionKind::kName:
      return EvaluateName(expression);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return Value(EvaluateItems(expression), expression.kind == ExpressionKind::kTuple);
    case ExpressionKind::kDict:
      return EvaluateDict(expression);
    case ExpressionKind::kAttribute:
      return EvaluateAttribute(expression);
    case ExpressionKind::kIndex:
      return EvaluateIndex(expression);
    case ExpressionKind::kSlice:
      return EvaluateSlice(expression);
    case ExpressionKind::kCall:
      return EvaluateCall(expression, nullptr);
    case ExpressionKind::kFilter: {
      const Value input = Evaluate(*expression.items[0]);
      const Arguments arguments = EvaluateArguments(expression);
      return ok() ? ApplyFilter(*this, expression.text, input, arguments) : Value();
    }
    case ExpressionKind::kTest: {
      const Value subject = Evaluate(*expression.items[0]);
      const Arguments arguments = EvaluateArguments(expression);
      return ok() ? Value(ApplyTest(*this, expression.text, subject, arguments)) : Value();
    }
    case ExpressionKind::kUnary:
      return EvaluateUnary(expression);
    case ExpressionKind::kBinary: {
      const Value a = Evaluate(*expression.items[0]);
      const Value b = Evaluate(*expression.items[1]);
      return ok() ? Binary(*this, expression.text, a, b) : Value();
    }
    case ExpressionKind::kCompare:
      return EvaluateCompare(expression);
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr: {
      Value first = Evaluate(*expression.items[0]);
      const bool decided = first.Truth() == (expression.kind == ExpressionKind::kOr);
      return decided || !ok() ? first : Evaluate(*expression.items[1]);
    }
    case ExpressionKind::kChoice: {
      const bool holds = Evaluate(*expression.items[1]).Truth();
      if (!ok()) return Value();
      if (holds) return Evaluate(*expression.items[0]);
      return expression.items[2] == nullptr ? Value() : Evaluate(*expression.items[2]);
    }
  }
  return Value();
}

Value Renderer::EvaluateName(const Expression& expression) {
  if (const Value* value = scope_->Find(expression.text)) return *value;
  if (const Value* value = inputs_.Find(expression.text)) return *value;
  if (IsFunction(expression.text)) {
    return Value(std::make_shared<const Callable>(Callable{.name = expression.text}));
  }
  return Value(Undefined{expression.text});
}

List Renderer::EvaluateItems(const Expression& expression) {
  List items;
  for (const ExpressionPtr& item : expression.items) {
    if (!Charge(sizeof(Value))) break;
    items.push_back(Evaluate(*item));
  }
  return items;
}

Value Renderer::EvaluateDict(const Expression& expression) {
  Dict dict;
  for (size_t i = 0; i + 1 < expression.items.size(); i += 2) {
    const Value key = Evaluate(*expression.items[i]);
    Value value = Evaluate(*expression.items[i + 1]);
    if (!Charge(2 * sizeof(Value))) return Value();
    if (!key.is_string()) return Fail(absl::StrCat("a dict's key is a ", key.TypeName(), ", only texts are supported"));
    dict.Set(*key.text(), std::move(value));
  }
  return Value(std::move(dict));
}

// Methods come before items, as in Jinja's attribute lookup.
Value Renderer::EvaluateAttribute(const Expression& expression) {
  const Value subject = Evaluate(*expression.items[0]);
  if (!ok()) return Value();
  if (HasMethod(subject, expression.text)) {
    return Value(
        std::make_shared<const Callable>(Callable{.name = expression.text, .self = subject, .is_method = true}));
  }
  return Attribute(subject, expression.text);
}

Value Renderer::Attribute(const Value& value, std::string_view name) {
  if (const Undefined* undefined = value.undefined()) {
    return Fail(absl::StrCat("'", undefined->name, "' is undefined, '", std::string(name), "' of it is asked for"));
  }
  const Dict* dict = value.is_namespace() ? value.mutable_dict() : value.dict();
  if (const Value* found = dict == nullptr ? nullptr : dict->Find(name)) return *found;
  return Value(Undefined{std::string(name)});
}

Value Renderer::EvaluateIndex(const Expression& expression) {
  const Value subject = Evaluate(*expression.items[0]);
  const Value index = Evaluate(*expression.items[1]);
  if (!ok()) return Value();
  if (index.is_string()) {
    const Value item = Attribute(subject, *index.text());
    if (!item.is_undefined() || !HasMethod(subject, *index.text())) return item;
    return Value(std::make_shared<const Callable>(Callable{.name = *index.text(), .self = subject, .is_method = true}));
  }
  if (subject.is_undefined()) return Attribute(subject, "an item");
  if ((index.is_integer() || index.is_bool()) && (subject.is_list() || subject.is_string())) {
    if (const List* list = subject.list()) {
      const auto count = static_cast<int64_t>(list->size());
      const int64_t at = index.integer() < 0 ? index.integer() + count : index.integer();
      return at >= 0 && at < count ? (*list)[static_cast<size_t>(at)] : Value(Undefined{"an item of a list"});
    }
    List items;
    Items(*this, subject, items);
    const auto count = static_cast<int64_t>(items.size());
    const int64_t at = index.integer() < 0 ? index.integer() + count : index.integer();
    return at >= 0 && at < count ? items[static_cast<size_t>(at)] : Value(Undefined{"a character of a text"});
  }
  return Value(Undefined{"an item"});
}

Value Renderer::EvaluateSlice(const Expression& expression) {
  const Value subject = Evaluate(*expression.items[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expression.items[i + 1] != nullptr) bounds[i] = Evaluate(*expression.items[i + 1]);
  }
  return ok() ? Slice(*this, subject, bounds[0], bounds[1], bounds[2]) : Value();
}

Value Renderer::EvaluateUnary(const Expression& expression) {
  const Value value = Evaluate(*expression.items[0]);
  if (!ok()) return Value();
  if (expression.text == "not") return Value(!value.Truth());
  if (!value.is_number()) return Fail(absl::StrCat("'", expression.text, "' before a ", value.TypeName()));
  return Binary(*this, expression.text, Value(int64_t{0}), value);
}

// a < b < c holds when a < b and b < c.
Value Renderer::EvaluateCompare(const Expression& expression) {
  Value left = Evaluate(*expression.items[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = Evaluate(*expression.items[i + 1]);
    if (!ok()) return Value();
    if (!Compare(*this, expression.operators[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Arguments Renderer::EvaluateArguments(const Expression& expression) {
  Arguments arguments;
  for (size_t i = 1; i < expression.items.size(); ++i) {
    arguments.positional.push_back(Evaluate(*expression.items[i]));
  }
  for (const auto& [name, value] : expression.named) arguments.named.emplace_back(name, Evaluate(*value));
  return arguments;
}

Value Renderer::EvaluateCall(const Expression& expression, const Value* caller) {
  const Value callee = Evaluate(*expression.items[0]);
  const Arguments arguments = EvaluateArguments(expression);
  return ok() ? Call(callee, arguments, caller) : Value();
}

Value Renderer::Call(const Value& callee, const Arguments& arguments, const Value* caller) {
  const Callable* function = callee.callable();
  if (function == nullptr) {
    return Fail(callee.is_undefined() ? absl::StrCat("'", callee.undefined()->name, "' is undefined, and called")
                                      : absl::StrCat("a ", callee.TypeName(), " is called"));
  }
  if (function->macro != nullptr) {
    return CallMacro(*static_cast<const Statement*>(function->macro),
                     std::static_pointer_cast<Scope>(function->closure), arguments, caller);
  }
  if (function->is_method) return CallMethod(*this, function->self, function->name, arguments);
  if (function->name == "cycle") {
    if (arguments.positional.empty()) return Fail("cycle without values");
    return arguments.positional[static_cast<size_t>(function->self.integer()) % arguments.positional.size()];
  }
  if (function->name == "namespace") return MakeNamespace(arguments);
  return CallFunction(*this, function->name, arguments);
}

Value Renderer::CallMacro(const Statement& macro, std::shared_ptr<Scope> closure, const Arguments& arguments,
                          const Value* caller) {
  const Level level(*this, line_);
  if (arguments.positional.size() > macro.parameters.size()) {
    return Fail(absl::StrCat("macro '", macro.text, "' takes ", macro.parameters.size(), " arguments, not ",
                             arguments.positional.size()));
  }
  const InnerScope inner(*this, std::move(closure));
  if (caller != nullptr) scope_->Set("caller", *caller);
  for (const auto& [name, value] : arguments.named) {
    bool known = false;
    for (const auto& parameter : macro.parameters) known = known || parameter.first == name;
    if (!known) return Fail(absl::StrCat("macro '", macro.text, "' takes no argument '", name, "'"));
  }
  for (size_t i = 0; i < macro.parameters.size() && ok(); ++i) {
    const auto& [name, otherwise] = macro.parameters[i];
    const Value* given = arguments.Get(i, name);
    scope_->Set(name, given != nullptr ? *given : otherwise != nullptr ? Evaluate(*otherwise) : Value(Undefined{name}));
  }
  return ok() ? Value(Capture(macro.body)) : Value();
}

Value Renderer::MakeNamespace(const Arguments& arguments) {
  if (!Charge(sizeof(Dict) + 64)) return Value();
  const Value entries = CallFunction(*this, "dict", arguments);
  if (entries.dict() == nullptr) return Value();
  namespaces_.push_back(std::make_shared<Dict>(*entries.dict()));
  return Value(namespaces_.back());
}

}  // namespace barn::jinja
