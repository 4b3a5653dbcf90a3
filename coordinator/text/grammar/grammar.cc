#include "coordinator/text/grammar/grammar.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/text/grammar/analysis.h"
#include "coordinator/text/grammar/gbnf_parser.h"
#include "coordinator/text/grammar/program.h"
#include "coordinator/text/grammar/rules.h"
#include "coordinator/text/grammar/schema_compiler.h"
#include "proto/base/status.h"

namespace barn::grammar {
namespace {

absl::StatusOr<std::unique_ptr<const Program>> CompileProgram(const Source& source) {
  size_t bytes = source.gbnf.size();
  for (const auto& [name, schema] : source.schemas) bytes += name.size() + schema.size();
  if (bytes > static_cast<size_t>(kSourceBytesMax)) {
    return absl::InvalidArgumentError(absl::StrFormat("it has %d bytes, at most %d", bytes, kSourceBytesMax));
  }
  Rules rules;
  std::vector<int32_t> schema_rules;
  for (const auto& [name, schema] : source.schemas) {
    const int32_t rule = rules.FindOrAddRule(name);
    if (rules.rule(rule).body >= 0) return absl::InvalidArgumentError(absl::StrCat("two schemas are named ", name));
    const absl::StatusOr<Node> body = CompileSchema(schema, rules);
    if (!body.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", std::string(body.status().message())));
    }
    rules.Define(rule, *body);
    schema_rules.push_back(rule);
  }
  BARN_RETURN_IF_ERROR(ParseGbnf(source.gbnf, rules));
  const int32_t root = rules.FindRule("root");
  if (root < 0) return absl::InvalidArgumentError("there is no rule \"root\"");
  Normalize(rules);
  BARN_RETURN_IF_ERROR(rules.status());
  const Analysis analysis = Analyze(rules);
  BARN_RETURN_IF_ERROR(RefuseLeftRecursion(rules, analysis));
  for (const int32_t rule : schema_rules) {
    if (analysis.productive[rules.rule(rule).body]) continue;
    return absl::InvalidArgumentError(absl::StrCat(rules.rule(rule).name, ": no value meets the schema"));
  }
  if (!analysis.productive[rules.rule(root).body]) {
    return absl::InvalidArgumentError("the rule \"root\" matches no text: every way through it goes on for ever");
  }
  return CompileRules(rules, root, analysis.productive);
}

}  // namespace

Grammar::Grammar(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Grammar::~Grammar() = default;

int64_t Grammar::memory_bytes() const {
  return static_cast<int64_t>(sizeof(Program) + program_->positions.size() * sizeof(Program::Position) +
                              program_->edges.size() * sizeof(Program::Edge) + program_->targets.size() * 4 +
                              program_->loops.size() * sizeof(Program::Loop));
}

Source JsonSchemaSource(std::string_view schema) {
  return {.gbnf = "root ::= schema", .schemas = {{"schema", std::string(schema)}}};
}

Source JsonObjectSource() { return JsonSchemaSource(R"({"type": "object"})"); }

absl::StatusOr<std::shared_ptr<const Grammar>> Grammar::Compile(const Source& source) {
  absl::StatusOr<std::unique_ptr<const Program>> program = CompileProgram(source);
  // A bound that was passed is a matter of the source, too.
  if (!program.ok()) return absl::InvalidArgumentError(program.status().message());
  return std::make_shared<const Grammar>(*std::move(program));
}
}  // namespace barn::grammar
