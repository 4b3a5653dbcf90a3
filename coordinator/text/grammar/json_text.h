#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "coordinator/text/grammar/code_point_set.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

// Expressions for JSON text (RFC 8259), all in one Rules. White space is bounded, since a model that falls for it would
// never end: after "{", "[", "," and ":" and before "}" and "]" may stand one space, or a line break and up to 64
// blanks.
class JsonText {
 public:
  explicit JsonText(Rules& rules) : rules_(rules) {}

  // One character of the set as it may stand between quotes: itself, or escaped where it must be or is outside of
  // ASCII.
  Node Point(const CodePointSet& set);
  Node AnyPoint();                   // In all its spellings.
  Node Text(std::string_view text);  // The characters of a string, without quotes.
  Node Quoted(Node content) { return rules_.Sequence({rules_.Literal("\""), content, rules_.Literal("\"")}); }

  Node Space();
  Node String();  // Any string.
  Node Number();
  Node Integer();
  Node Value();
  Node Object();
  Node Array();
  // This very value. Keys stand in its order.
  Node Exactly(const nlohmann::ordered_json& value);

  // Digits.
  Node Digits(int64_t min, int64_t max) { return rules_.Repeat(DigitRange('0', '9'), min, max); }
  Node DigitRange(char low, char high);

 private:
  Node Hex(uint32_t low, uint32_t high);
  Node Escape(const CodePointSet& set);
  // The rule of this name; `body` makes it when it is first asked for.
  template <class Body>
  Node Shared(std::string_view name, int32_t& rule, const Body& body);
  Node Bracket(std::string_view open, Node member, std::string_view close);

  Rules& rules_;
  int32_t space_ = -1, string_ = -1, number_ = -1, integer_ = -1, value_ = -1, object_ = -1, array_ = -1;
};

// Longest run of digits before and after the point in generated numbers, so that a number comes to an end.
inline constexpr int64_t kDigitsMax = 24;

}  // namespace barn::grammar
