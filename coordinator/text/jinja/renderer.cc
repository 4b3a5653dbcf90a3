#include "coordinator/text/jinja/renderer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/text/jinja/renderer_level.h"

namespace barn::jinja {

const Value* Scope::Find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer.get()) {
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

void Scope::Set(std::string_view name, Value value) {
  for (auto& [known, own] : variables) {
    if (known == name) {
      own = std::move(value);
      return;
    }
  }
  variables.emplace_back(std::string(name), std::move(value));
}

Renderer::~Renderer() {
  for (const auto& closure : closures_) closure->variables.clear();
  // The oldest first, so that a chain of them is never taken down in one recursion.
  for (const auto& shared : namespaces_) *shared = Dict();
}

absl::StatusOr<std::string> Renderer::Run(const Body& body) {
  scope_ = std::make_shared<Scope>();
  Execute(body);
  if (!ok()) return status_;
  return std::move(out_);
}

Value Renderer::Fail(const std::string& what) {
  if (ok()) status_ = absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  return Value();
}

bool Renderer::Charge(size_t bytes) {
  if (!ok()) return false;
  steps_ += 1 + static_cast<int64_t>(std::min<size_t>(bytes, options_.bytes_max) / 64);
  if (bytes > bytes_left()) {
    Fail(absl::StrCat("the template makes more than ", options_.bytes_max, " bytes"));
  } else if (steps_ > options_.steps_max) {
    Fail(absl::StrCat("the template takes more than ", options_.steps_max, " steps"));
  } else {
    bytes_ += bytes;
  }
  return ok();
}

std::string Renderer::Text(const Value& value) {
  std::string text;
  AppendText(value, bytes_left(), text);
  return Charge(text.size()) ? text : std::string();
}

Renderer::Flow Renderer::Execute(const Body& body) {
  for (const Statement& statement : body) {
    const Flow flow = Execute(statement);
    if (!ok() || flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::Execute(const Statement& statement) {
  const Level level(*this, statement.line);
  if (!Charge(0)) return Flow::kNext;
  switch (statement.kind) {
    case StatementKind::kText:
      if (Charge(statement.text.size())) out_ += statement.text;
      break;
    case StatementKind::kOutput:
      Output(Evaluate(*statement.expression));
      break;
    case StatementKind::kIf:
      return If(statement);
    case StatementKind::kFor:
      return For(statement);
    case StatementKind::kSet:
    case StatementKind::kSetBlock:
      Set(statement);
      break;
    case StatementKind::kMacro:
      scope_->Set(statement.text, Macro(statement));
      break;
    case StatementKind::kCallBlock:
      CallWithCaller(statement);
      break;
    case StatementKind::kFilterBlock:
      Output(Filtered(*statement.filter, Value(Capture(statement.body))));
      break;
    case StatementKind::kWith:
      return With(statement);
    case StatementKind::kBody:
      return Execute(statement.body);
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Renderer::Output(const Value& value) {
  if (!ok()) return;
  const size_t before = out_.size();
  AppendText(value, before + bytes_left(), out_);
  Charge(out_.size() - before);
}

Renderer::Flow Renderer::If(const Statement& statement) {
  const bool holds = Evaluate(*statement.expression).Truth();
  if (!ok()) return Flow::kNext;
  return Execute(holds ? statement.body : statement.otherwise);
}

Renderer::Flow Renderer::For(const Statement& statement) {
  List items;
  const Value source = Evaluate(*statement.expression);
  if (!ok() || !Items(*this, source, items)) return Flow::kNext;
  if (statement.filter != nullptr) {
    List kept;
    for (Value& item : items) {
      const InnerScope inner(*this);
      if (!Assign(statement.names, item)) return Flow::kNext;
      if (Evaluate(*statement.filter).Truth()) kept.push_back(std::move(item));
      if (!ok()) return Flow::kNext;
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    const InnerScope inner(*this);
    return Execute(statement.otherwise);
  }
  return Iterate(statement, items);
}

Renderer::Flow Renderer::Iterate(const Statement& statement, const List& items) {
  const auto count = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count && Charge(0); ++i) {
    const InnerScope inner(*this);
    if (!Assign(statement.names, items[static_cast<size_t>(i)])) break;
    Dict loop;
    loop.Set("index", Value(i + 1));
    loop.Set("index0", Value(i));
    loop.Set("revindex", Value(count - i));
    loop.Set("revindex0", Value(count - i - 1));
    loop.Set("first", Value(i == 0));
    loop.Set("last", Value(i == count - 1));
    loop.Set("length", Value(count));
    if (i > 0) loop.Set("previtem", items[static_cast<size_t>(i) - 1]);
    if (i < count - 1) loop.Set("nextitem", items[static_cast<size_t>(i) + 1]);
    loop.Set("cycle", Value(std::make_shared<const Callable>(Callable{.name = "cycle", .self = Value(i)})));
    scope_->Set("loop", Value(std::move(loop)));
    if (Execute(statement.body) == Flow::kBreak || !ok()) break;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::With(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& [name, expression] : statement.parameters) values.push_back(Evaluate(*expression));
  const InnerScope inner(*this);
  for (size_t i = 0; i < values.size(); ++i) scope_->Set(statement.parameters[i].first, std::move(values[i]));
  return Execute(statement.body);
}

bool Renderer::Assign(const std::vector<std::string>& names, const Value& value) {
  if (names.size() == 1) {
    scope_->Set(names[0], value);
    return true;
  }
  List parts;
  if (!Items(*this, value, parts)) return false;
  if (parts.size() != names.size()) {
    Fail(absl::StrCat(parts.size(), " values for ", names.size(), " names"));
    return false;
  }
  for (size_t i = 0; i < names.size(); ++i) scope_->Set(names[i], parts[i]);
  return true;
}

void Renderer::Set(const Statement& statement) {
  if (statement.kind == StatementKind::kSetBlock) {
    Value text(Capture(statement.body));
    if (statement.filter != nullptr) text = Filtered(*statement.filter, std::move(text));
    if (ok()) scope_->Set(statement.names[0], std::move(text));
    return;
  }
  Value value = Evaluate(*statement.expression);
  if (!ok()) return;
  if (statement.attribute.empty()) {
    Assign(statement.names, value);
    return;
  }
  const Value* target = scope_->Find(statement.names[0]);
  if (target == nullptr || target->mutable_dict() == nullptr) {
    Fail(absl::StrCat("'", statement.names[0], ".", statement.attribute, "' is set, but '", statement.names[0],
                      "' is not a namespace"));
  } else if (Charge(sizeof(Value))) {
    target->mutable_dict()->Set(statement.attribute, std::move(value));
  }
}

// What a body writes, in its own scope.
std::string Renderer::Capture(const Body& body) {
  const InnerScope inner(*this);
  std::string saved = std::exchange(out_, {});
  Execute(body);
  return std::exchange(out_, std::move(saved));
}

Value Renderer::Filtered(const Expression& filter, Value input) {
  if (filter.items[0] != nullptr) input = Filtered(*filter.items[0], std::move(input));
  const Arguments arguments = EvaluateArguments(filter);
  return ok() ? ApplyFilter(*this, filter.text, input, arguments) : Value();
}

Value Renderer::Macro(const Statement& statement) {
  if (closures_.empty() || closures_.back() != scope_) closures_.push_back(scope_);
  Charge(sizeof(Callable));
  return Value(
      std::make_shared<const Callable>(Callable{.name = statement.text, .macro = &statement, .closure = scope_}));
}

void Renderer::CallWithCaller(const Statement& statement) {
  const Value caller = Macro(statement);
  Output(EvaluateCall(*statement.expression, &caller));
}

}  // namespace barn::jinja
