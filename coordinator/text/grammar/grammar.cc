#include "coordinator/text/grammar/grammar.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/text/grammar/analysis.h"
#include "coordinator/text/grammar/gbnf_parser.h"
#include "coordinator/text/grammar/program.h"
#include "coordinator/text/grammar/rules.h"
#include "proto/base/status.h"

namespace barn::grammar {

Grammar::Grammar(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Grammar::~Grammar() = default;

int64_t Grammar::memory_bytes() const {
  return static_cast<int64_t>(sizeof(Program) + program_->positions.size() * sizeof(Program::Position) +
                              program_->edges.size() * sizeof(Program::Edge) + program_->targets.size() * 4 +
                              program_->loops.size() * sizeof(Program::Loop));
}

absl::StatusOr<std::shared_ptr<const Grammar>> Grammar::Compile(const Source& source) {
  size_t bytes = source.gbnf.size();
  for (const auto& [name, schema] : source.schemas) bytes += name.size() + schema.size();
  if (bytes > static_cast<size_t>(kSourceBytesMax)) {
    return absl::InvalidArgumentError(absl::StrFormat("it has %d bytes, at most %d", bytes, kSourceBytesMax));
  }
  Rules rules;
  BARN_RETURN_IF_ERROR(ParseGbnf(source.gbnf, rules));
  const int32_t root = rules.FindRule("root");
  if (root < 0) return absl::InvalidArgumentError("there is no rule \"root\"");
  Normalize(rules);
  BARN_RETURN_IF_ERROR(rules.status());
  const Analysis analysis = Analyze(rules);
  BARN_RETURN_IF_ERROR(RefuseLeftRecursion(rules, analysis));
  if (!analysis.productive[rules.rule(root).body]) {
    return absl::InvalidArgumentError("the rule \"root\" matches no text: every way through it goes on for ever");
  }
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<const Program> program, CompileRules(rules, root, analysis.productive));
  return std::make_shared<const Grammar>(std::move(program));
}

}  // namespace barn::grammar
