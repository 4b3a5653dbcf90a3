#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/text/jinja/builtins.h"
#include "coordinator/text/jinja/syntax.h"
#include "coordinator/text/jinja/template.h"

namespace barn::jinja {

// The variables of a block; what it lacks is looked up in the one around it.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string, Value>> variables;

  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);
};

// One rendering. After the first error everything returns at once, and status() tells it.
class Renderer final : public Context {
 public:
  Renderer(const Dict& inputs, const RenderOptions& options) : inputs_(inputs), options_(options) {}
  // Macros and namespaces may hold each other.
  ~Renderer() override;

  absl::StatusOr<std::string> Run(const Body& body);

  Value Fail(const std::string& what) override;
  bool ok() const override { return status_.ok(); }
  bool Charge(size_t bytes) override;
  size_t bytes_left() const override { return bytes_ < options_.bytes_max ? options_.bytes_max - bytes_ : 0; }
  absl::Time now() const override { return options_.now; }
  absl::TimeZone time_zone() const override { return options_.time_zone; }
  std::string Text(const Value& value) override;
  Value Attribute(const Value& value, std::string_view name) override;

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Level;       // Counts how deep calls nest.
  class InnerScope;  // A scope for a while.

  Flow Execute(const Body& body);
  Flow Execute(const Statement& statement);
  Flow If(const Statement& statement);
  Flow For(const Statement& statement);
  Flow Iterate(const Statement& statement, const List& items);
  Flow With(const Statement& statement);
  void Set(const Statement& statement);
  void Output(const Value& value);
  bool Assign(const std::vector<std::string>& names, const Value& value);
  std::string Capture(const Body& body);
  Value Filtered(const Expression& filter, Value input);
  void CallWithCaller(const Statement& statement);
  Value Macro(const Statement& statement);

  Value Evaluate(const Expression& expression);
  Value EvaluateKind(const Expression& expression);
  Value EvaluateName(const Expression& expression);
  Value EvaluateAttribute(const Expression& expression);
  Value EvaluateDict(const Expression& expression);
  Value EvaluateIndex(const Expression& expression);
  Value EvaluateSlice(const Expression& expression);
  Value EvaluateUnary(const Expression& expression);
  Value EvaluateCompare(const Expression& expression);
  Value EvaluateCall(const Expression& expression, const Value* caller);
  List EvaluateItems(const Expression& expression);
  Arguments EvaluateArguments(const Expression& expression);
  Value Call(const Value& callee, const Arguments& arguments, const Value* caller);
  Value CallMacro(const Statement& macro, std::shared_ptr<Scope> closure, const Arguments& arguments,
                  const Value* caller);
  Value MakeNamespace(const Arguments& arguments);

  const Dict& inputs_;
  const RenderOptions& options_;
  absl::Status status_;
  std::string out_;
  std::shared_ptr<Scope> scope_;
  std::vector<std::shared_ptr<Scope>> closures_;
  std::vector<std::shared_ptr<Dict>> namespaces_;
  int line_ = 1;
  int level_ = 0;
  int64_t steps_ = 0;
  size_t bytes_ = 0;
};

}  // namespace barn::jinja
