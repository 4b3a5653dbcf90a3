#include "coordinator/text/grammar/json_text.h"

#include <algorithm>
#include <string>
#include <vector>

#include "coordinator/text/jinja/code_points.h"

namespace barn::grammar {
namespace {

constexpr int64_t kBlanksMax = 64;

struct ShortEscape {
  uint32_t point;
  char letter;
};
constexpr ShortEscape kShortEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'\b', 'b'},
                                         {'\f', 'f'}, {'\n', 'n'},  {'\r', 'r'}, {'\t', 't'}};

const CodePointSet& Printable() {
  static const CodePointSet set({{0x20, 0x7E}});
  return set;
}

// What cannot stand for itself between quotes.
const CodePointSet& MustEscape() {
  static const CodePointSet set({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  return set;
}

}  // namespace

Node JsonText::DigitRange(char low, char high) {
  return rules_.Class(CodePointSet({{static_cast<uint32_t>(low), static_cast<uint32_t>(high)}}));
}

// Four hexadecimal digits, either case, for the numbers of a range.
Node JsonText::Hex(uint32_t low, uint32_t high) {
  std::vector<Node> ways;
  for (const PlaceRanges& piece : SplitByDigits(low, high, 4, 4)) {
    std::vector<Node> places;
    for (const auto& [from, to] : piece) {
      std::vector<CodePointSet::Range> digits;
      if (from <= 9) digits.push_back({'0' + from, '0' + std::min<uint32_t>(to, 9)});
      if (to >= 10) {
        const uint32_t first = std::max<uint32_t>(from, 10) - 10, last = to - 10;
        digits.push_back({'a' + first, 'a' + last});
        digits.push_back({'A' + first, 'A' + last});
      }
      places.push_back(rules_.Class(CodePointSet(std::move(digits))));
    }
    ways.push_back(rules_.Sequence(places));
  }
  return rules_.Choice(ways);
}

// \uXXXX for the members of a set, with surrogate pairs above U+FFFF.
Node JsonText::Escape(const CodePointSet& set) {
  std::vector<Node> ways;
  for (const CodePointSet::Range& range : set.ranges()) {
    if (range.low <= 0xFFFF) ways.push_back(Hex(range.low, std::min<uint32_t>(range.high, 0xFFFF)));
    if (range.high <= 0xFFFF) continue;
    const uint32_t low = std::max<uint32_t>(range.low, 0x10000) - 0x10000;
    for (const PlaceRanges& pair : SplitByDigits(low, range.high - 0x10000, 10, 2)) {
      ways.push_back(rules_.Sequence({Hex(0xD800 + pair[0].first, 0xD800 + pair[0].second), rules_.Literal("\\u"),
                                      Hex(0xDC00 + pair[1].first, 0xDC00 + pair[1].second)}));
    }
  }
  return rules_.Sequence({rules_.Literal("u"), rules_.Choice(ways)});
}

Node JsonText::Point(const CodePointSet& set) {
  std::vector<Node> escapes;
  std::vector<CodePointSet::Range> letters;
  for (const ShortEscape& escape : kShortEscapes) {
    const auto letter = static_cast<uint32_t>(escape.letter);
    if (set.Contains(escape.point)) letters.push_back({letter, letter});
  }
  escapes.push_back(rules_.Class(CodePointSet(std::move(letters))));
  const CodePointSet escaped = set == CodePointSet::Any() ? set : set.Minus(Printable());
  if (!escaped.empty()) escapes.push_back(Escape(escaped));
  return rules_.Choice(
      {rules_.Class(set.Minus(MustEscape())), rules_.Sequence({rules_.Literal("\\"), rules_.Choice(escapes)})});
}

Node JsonText::AnyPoint() { return Point(CodePointSet::Any()); }

Node JsonText::Text(std::string_view text) {
  std::vector<Node> points;
  std::string plain;  // Letters that have one spelling only.
  const auto flush = [&] {
    if (!plain.empty()) points.push_back(rules_.Literal(plain));
    plain.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const uint32_t point = jinja::NextCodePoint(text, at);
    if (Printable().Contains(point) && point != '"' && point != '\\' && point != '/') {
      plain += static_cast<char>(point);
      continue;
    }
    flush();
    points.push_back(Point(CodePointSet::One(point)));
  }
  flush();
  return rules_.Sequence(points);
}

template <class Body>
Node JsonText::Shared(std::string_view name, int32_t& rule, const Body& body) {
  if (rule < 0) {
    rule = rules_.AddRule(std::string(name));
    rules_.Define(rule, rules_.Never());
    rules_.Define(rule, body());
  }
  return rules_.Reference(rule);
}

Node JsonText::Space() {
  return Shared("JSON white space", space_, [&] {
    const Node blank = rules_.Class(CodePointSet({{' ', ' '}, {'\t', '\t'}}));
    return rules_.Optional(rules_.Choice(
        {rules_.Literal(" "), rules_.Sequence({rules_.Literal("\n"), rules_.Repeat(blank, 0, kBlanksMax)})}));
  });
}

Node JsonText::String() {
  return Shared("JSON string", string_, [&] { return Quoted(rules_.Repeat(AnyPoint(), 0, kUnbounded)); });
}

Node JsonText::Integer() {
  return Shared("JSON integer", integer_, [&] {
    return rules_.Sequence(
        {rules_.Optional(rules_.Literal("-")),
         rules_.Choice({rules_.Literal("0"), rules_.Sequence({DigitRange('1', '9'), Digits(0, kDigitsMax - 1)})})});
  });
}

Node JsonText::Number() {
  return Shared("JSON number", number_, [&] {
    const auto fraction = [&] {
      return rules_.Optional(rules_.Sequence({rules_.Literal("."), Digits(1, kDigitsMax)}));
    };
    // Below 10^300, so that every reader of doubles can hold it.
    const Node power = rules_.Choice({rules_.Sequence({rules_.Optional(rules_.Literal("0")), Digits(1, 2)}),
                                      rules_.Sequence({DigitRange('1', '2'), Digits(2, 2)})});
    const Node exponent =
        rules_.Sequence({rules_.Class(CodePointSet({{'e', 'e'}, {'E', 'E'}})),
                         rules_.Optional(rules_.Class(CodePointSet({{'+', '+'}, {'-', '-'}}))), power});
    return rules_.Choice(
        {rules_.Sequence({Integer(), fraction()}),
         rules_.Sequence({rules_.Optional(rules_.Literal("-")), DigitRange('0', '9'), fraction(), exponent})});
  });
}

Node JsonText::Bracket(std::string_view open, Node member, std::string_view close) {
  const Node more = rules_.Repeat(rules_.Sequence({rules_.Literal(","), Space(), member}), 0, kUnbounded);
  return rules_.Sequence({rules_.Literal(open), Space(), rules_.Optional(rules_.Sequence({member, more, Space()})),
                          rules_.Literal(close)});
}

Node JsonText::Object() {
  return Shared("JSON object", object_, [&] {
    return Bracket("{", rules_.Sequence({String(), rules_.Literal(":"), Space(), Value()}), "}");
  });
}

Node JsonText::Array() {
  return Shared("JSON array", array_, [&] { return Bracket("[", Value(), "]"); });
}

Node JsonText::Value() {
  return Shared("JSON value", value_, [&] {
    return rules_.Choice({Object(), Array(), String(), Number(), rules_.Literal("true"), rules_.Literal("false"),
                          rules_.Literal("null")});
  });
}

Node JsonText::Exactly(const nlohmann::ordered_json& value) {
  const auto separate = [&](std::vector<Node>& parts) {
    parts.push_back(parts.size() == 1 ? Space() : rules_.Sequence({rules_.Literal(","), Space()}));
  };
  std::vector<Node> parts;
  if (value.is_string()) return Quoted(Text(value.get_ref<const std::string&>()));
  if (value.is_array()) {
    parts.push_back(rules_.Literal("["));
    for (const auto& item : value) {
      separate(parts);
      parts.push_back(Exactly(item));
    }
    parts.insert(parts.end(), {Space(), rules_.Literal("]")});
    return rules_.Sequence(parts);
  }
  if (value.is_object()) {
    parts.push_back(rules_.Literal("{"));
    for (const auto& [name, member] : value.items()) {
      separate(parts);
      parts.insert(parts.end(), {Quoted(Text(name)), rules_.Literal(":"), Space(), Exactly(member)});
    }
    parts.insert(parts.end(), {Space(), rules_.Literal("}")});
    return rules_.Sequence(parts);
  }
  const std::string text = value.dump();
  // A whole number means the same without its fraction.
  if (!value.is_number_float() || !text.ends_with(".0")) return rules_.Literal(text);
  return rules_.Sequence({rules_.Literal(text.substr(0, text.size() - 2)), rules_.Optional(rules_.Literal(".0"))});
}

}  // namespace barn::grammar
