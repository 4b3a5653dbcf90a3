#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "coordinator/text/grammar/json_text.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

// A decimal number of a schema, exact. Zero is never negative.
struct Decimal {
  bool negative = false;
  std::string integer = "0";  // Without leading zeros.
  std::string fraction;       // Without zeros at the end.

  bool is_zero() const { return integer == "0" && fraction.empty(); }
  Decimal Negated() const;
  friend bool operator==(const Decimal&, const Decimal&) = default;
};

// InvalidArgument: more than kDigitsMax digits on a side of the point.
absl::StatusOr<Decimal> ToDecimal(const nlohmann::ordered_json& number);

// < 0, 0, > 0 as a is less than, equal to or greater than b.
int Compare(const Decimal& a, const Decimal& b);

// An interval; an absent end is open to infinity.
struct NumberBounds {
  struct End {
    Decimal value;
    bool exclusive = false;
  };
  std::optional<End> low;
  std::optional<End> high;

  bool none() const { return !low.has_value() && !high.has_value(); }
  // Keeps the tighter of the present end and this one.
  void RaiseLow(const End& end);
  void LowerHigh(const End& end);
  bool Contains(const Decimal& number) const;
  // No number lies in both.
  bool DisjointFrom(const NumberBounds& other) const;
};

// The integers, or all numbers, of an interval as JSON texts without exponents; all spellings of fractions with up to
// kDigitsMax digits. Matches nothing where the interval is empty.
Node IntegersWithin(const NumberBounds& bounds, Rules& rules, JsonText& json);
Node NumbersWithin(const NumberBounds& bounds, Rules& rules, JsonText& json);

}  // namespace barn::grammar
