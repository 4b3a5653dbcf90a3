#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace barn::grammar {

struct Program;

// What an answer may be, as a client writes it.
//
// `gbnf` is a grammar in GBNF with the rule "root": literals with the escapes \n \r \t \\ \" \[ \] \xHH \uHHHH
// \UHHHHHHHH, classes [a-z] and [^a-z], any character ".", groups, alternatives, "? * + {n} {n,} {n,m}", comments "#",
// and, as an extension, <[ID]>: the token of that id, for control tokens, whose text no literal matches.
// `schemas` adds rules that `gbnf` may use: a name, and the text of a JSON schema whose values the rule matches.
struct Source {
  std::string gbnf;
  std::vector<std::pair<std::string, std::string>> schemas = {};

  friend bool operator==(const Source&, const Source&) = default;
};

// A JSON value of this schema and nothing else.
Source JsonSchemaSource(std::string_view schema);
// Any JSON object and nothing else.
Source JsonObjectSource();

// A compiled grammar. Immutable; thread-safe.
class Grammar {
 public:
  // InvalidArgument, in one line: the place in the grammar ("line 3, column 7: ...") or the JSON path in the schema
  // ("#/properties/a/pattern: ...") and what is wrong there: syntax, an undefined rule, left recursion, a rule that
  // never ends, a keyword that is not supported, more than a bound allows. Takes at most some 100 ms on any input.
  static absl::StatusOr<std::shared_ptr<const Grammar>> Compile(const Source& source);

  explicit Grammar(std::unique_ptr<const Program> program);
  ~Grammar();

  const Program& program() const { return *program_; }
  int64_t memory_bytes() const;

 private:
  const std::unique_ptr<const Program> program_;
};

}  // namespace barn::grammar
