#include "coordinator/text/grammar/number_range.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace barn::grammar {
namespace {

constexpr size_t kPlacesMax = static_cast<size_t>(kDigitsMax);

// Natural numbers as digits without leading zeros.
int CompareDigits(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a.compare(b);
}

std::string Increment(std::string digits) {
  size_t i = digits.size();
  for (; i > 0 && digits[i - 1] == '9'; --i) digits[i - 1] = '0';
  if (i == 0) return absl::StrCat("1", digits);
  ++digits[i - 1];
  return digits;
}

// Of a number above 0.
std::string Decrement(std::string digits) {
  size_t i = digits.size();
  for (; digits[i - 1] == '0'; --i) digits[i - 1] = '9';
  --digits[i - 1];
  return digits.size() > 1 && digits[0] == '0' ? digits.substr(1) : digits;
}

// One end of an interval of magnitudes.
struct Magnitude {
  std::string integer = "0";
  std::string fraction;
  bool exclusive = false;
};

class Builder {
 public:
  Builder(Rules& rules, JsonText& json) : rules_(rules), json_(json) {}

  // Natural numbers from low to high (absent: any), both inclusive.
  Node Naturals(const std::string& low, const std::optional<std::string>& high) {
    std::vector<Node> ways;
    const size_t longest = high.has_value() ? high->size() : low.size();
    for (size_t places = low.size(); places <= longest; ++places) {
      const std::string from = places == low.size() ? low : absl::StrCat("1", std::string(places - 1, '0'));
      const std::string to = high.has_value() && places == longest ? *high : std::string(places, '9');
      if (from <= to) ways.push_back(Between(from, to, 0, true, true));
    }
    if (!high.has_value() && low.size() < kPlacesMax) {
      ways.push_back(rules_.Sequence(
          {json_.DigitRange('1', '9'), json_.Digits(static_cast<int64_t>(low.size()), kDigitsMax - 1)}));
    }
    return rules_.Choice(ways);
  }

  // Decimals of at least 0 between two magnitudes.
  Node Decimals(const Magnitude& low, const std::optional<Magnitude>& high) {
    if (!high.has_value()) {
      return rules_.Choice({rules_.Sequence({rules_.Literal(low.integer), Fractions(&low, nullptr)}),
                            rules_.Sequence({Naturals(Increment(low.integer), std::nullopt), AnyFraction()})});
    }
    const int order = CompareDigits(low.integer, high->integer);
    if (order > 0) return rules_.Never();
    if (order == 0) return rules_.Sequence({rules_.Literal(low.integer), Fractions(&low, &*high)});
    std::vector<Node> ways = {rules_.Sequence({rules_.Literal(low.integer), Fractions(&low, nullptr)}),
                              rules_.Sequence({rules_.Literal(high->integer), Fractions(nullptr, &*high)})};
    const std::string first = Increment(low.integer), last = Decrement(high->integer);
    if (CompareDigits(first, last) <= 0) ways.push_back(rules_.Sequence({Naturals(first, last), AnyFraction()}));
    return rules_.Choice(ways);
  }

 private:
  Node Digit(int low, int high) {
    if (low > high) return rules_.Never();
    return json_.DigitRange(static_cast<char>('0' + low), static_cast<char>('0' + high));
  }

  // Digits as many as those of `from` and `to`, from place `i`; what stands before equals that of an end if `tight`.
  Node Between(const std::string& from, const std::string& to, size_t i, bool low_tight, bool high_tight) {
    const auto left = static_cast<int64_t>(from.size() - i);
    if (!low_tight && !high_tight) return json_.Digits(left, left);
    if (left == 0) return rules_.Empty();
    const int low = low_tight ? from[i] - '0' : 0, high = high_tight ? to[i] - '0' : 9;
    if (low_tight && high_tight && low == high) {
      return rules_.Sequence({Digit(low, low), Between(from, to, i + 1, true, true)});
    }
    std::vector<Node> ways = {
        rules_.Sequence({Digit(low + low_tight, high - high_tight), json_.Digits(left - 1, left - 1)})};
    if (low_tight) ways.push_back(rules_.Sequence({Digit(low, low), Between(from, to, i + 1, true, false)}));
    if (high_tight) ways.push_back(rules_.Sequence({Digit(high, high), Between(from, to, i + 1, false, true)}));
    return rules_.Choice(ways);
  }

  Node AnyFraction() { return rules_.Optional(rules_.Sequence({rules_.Literal("."), json_.Digits(1, kDigitsMax)})); }

  // What may follow an integer part that equals that of the given ends.
  Node Fractions(const Magnitude* low, const Magnitude* high) {
    const Node some = rules_.Sequence({rules_.Literal("."), Places(low, high, 0)});
    return MayEnd(low, high, 0) ? rules_.Optional(some) : some;
  }

  static char PlaceOf(const Magnitude& end, size_t i) { return i < end.fraction.size() ? end.fraction[i] : '0'; }

  // Whether a number that equals the tight ends up to place `i` may stop there. Fractions have no zeros at their ends.
  static bool MayEnd(const Magnitude* low, const Magnitude* high, size_t i) {
    const bool low_ok = low == nullptr || (i >= low->fraction.size() && !low->exclusive);
    const bool high_ok = high == nullptr || i < high->fraction.size() || !high->exclusive;
    return low_ok && high_ok;
  }

  // At least one digit at place `i` and after it. An end is null where the number is already inside of it.
  Node Places(const Magnitude* low, const Magnitude* high, size_t i) {
    const auto left = static_cast<int64_t>(kPlacesMax - i);
    if (low == nullptr && high == nullptr) return json_.Digits(1, left);
    if (left <= 0) return rules_.Never();
    const size_t longest =
        std::max(low == nullptr ? 0 : low->fraction.size(), high == nullptr ? 0 : high->fraction.size());
    if (i >= longest) return PlacesAtEnd(low, high, left);
    const int from = low == nullptr ? 0 : PlaceOf(*low, i) - '0', to = high == nullptr ? 9 : PlaceOf(*high, i) - '0';
    if (low != nullptr && high != nullptr && from >= to) {
      return from > to ? rules_.Never() : Tight(from, low, high, i);
    }
    std::vector<Node> ways = {
        rules_.Sequence({Digit(from + (low != nullptr), to - (high != nullptr)), json_.Digits(0, left - 1)})};
    if (low != nullptr) ways.push_back(Tight(from, low, nullptr, i));
    if (high != nullptr) ways.push_back(Tight(to, nullptr, high, i));
    return rules_.Choice(ways);
  }

  Node Tight(int digit, const Magnitude* low, const Magnitude* high, size_t i) {
    const Node more = Places(low, high, i + 1);
    return rules_.Sequence({Digit(digit, digit), MayEnd(low, high, i + 1) ? rules_.Optional(more) : more});
  }

  // Behind the last place of the ends: zeros change nothing, any other digit makes the number larger.
  Node PlacesAtEnd(const Magnitude* low, const Magnitude* high, int64_t left) {
    const bool zeros = (low == nullptr || !low->exclusive) && (high == nullptr || !high->exclusive);
    if (high != nullptr) return zeros ? rules_.Repeat(Digit(0, 0), 1, left) : rules_.Never();
    if (!low->exclusive) return json_.Digits(1, left);
    return rules_.Sequence({rules_.Repeat(Digit(0, 0), 0, left - 1), Digit(1, 9), json_.Digits(0, left - 1)});
  }

  Rules& rules_;
  JsonText& json_;
};

Magnitude MagnitudeOf(const NumberBounds::End& end) {
  return {.integer = end.value.integer, .fraction = end.value.fraction, .exclusive = end.exclusive};
}

}  // namespace

Decimal Decimal::Negated() const {
  return {.negative = !negative && !is_zero(), .integer = integer, .fraction = fraction};
}

absl::StatusOr<Decimal> ToDecimal(const nlohmann::ordered_json& number) {
  const std::string text = number.dump();
  const size_t mark = std::min(text.find('e'), text.size());
  std::string_view mantissa = std::string_view(text).substr(0, mark);
  const long exponent = mark < text.size() ? std::strtol(text.c_str() + mark + 1, nullptr, 10) : 0;
  Decimal out;
  out.negative = mantissa[0] == '-';
  mantissa.remove_prefix(out.negative);
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  std::string digits(mantissa.substr(0, point));
  if (point < mantissa.size()) digits += mantissa.substr(point + 1);
  // `places`: digits before the point once the exponent is applied.
  const long places = static_cast<long>(point) + exponent;
  if (std::labs(places) > 2 * kDigitsMax) digits.assign(2 * kPlacesMax + 1, '1');  // Refused below.
  if (places <= 0) {
    out.fraction = std::string(static_cast<size_t>(-places), '0') + digits;
    out.integer.assign(1, '0');
  } else {
    digits.resize(std::max(digits.size(), static_cast<size_t>(places)), '0');
    out.integer = digits.substr(0, static_cast<size_t>(places));
    out.fraction = digits.substr(static_cast<size_t>(places));
  }
  out.integer.erase(0, std::min(out.integer.find_first_not_of('0'), out.integer.size() - 1));
  out.fraction.erase(out.fraction.find_last_not_of('0') + 1);
  if (out.is_zero()) out.negative = false;
  if (out.integer.size() >= kPlacesMax || out.fraction.size() >= kPlacesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, " has ", kDigitsMax, " or more digits on one side of the point, which is not supported"));
  }
  return out;
}

int Compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int order = CompareDigits(a.integer, b.integer);
  if (order == 0) order = a.fraction.compare(b.fraction);
  return a.negative ? -order : order;
}

void NumberBounds::RaiseLow(const End& end) {
  const int order = low.has_value() ? Compare(end.value, low->value) : 1;
  if (order > 0 || (order == 0 && end.exclusive)) low = end;
}

void NumberBounds::LowerHigh(const End& end) {
  const int order = high.has_value() ? Compare(end.value, high->value) : -1;
  if (order < 0 || (order == 0 && end.exclusive)) high = end;
}

bool NumberBounds::Contains(const Decimal& number) const {
  const int above = low.has_value() ? Compare(number, low->value) : 1;
  const int below = high.has_value() ? Compare(number, high->value) : -1;
  return (above > 0 || (above == 0 && !low->exclusive)) && (below < 0 || (below == 0 && !high->exclusive));
}

bool NumberBounds::DisjointFrom(const NumberBounds& other) const {
  const auto ends_before = [](const NumberBounds& a, const NumberBounds& b) {
    if (!a.high.has_value() || !b.low.has_value()) return false;
    const int order = Compare(a.high->value, b.low->value);
    return order < 0 || (order == 0 && (a.high->exclusive || b.low->exclusive));
  };
  return ends_before(*this, other) || ends_before(other, *this);
}

Node IntegersWithin(const NumberBounds& bounds, Rules& rules, JsonText& json) {
  if (bounds.none()) return json.Integer();
  Builder builder(rules, json);
  // The least and the largest magnitude of the integers on one side of 0 between two ends.
  const auto least = [](const NumberBounds::End& end) {
    const bool inside = end.value.fraction.empty() && !end.exclusive;
    return inside ? end.value.integer : Increment(end.value.integer);
  };
  const auto largest = [](const NumberBounds::End& end) -> std::optional<std::string> {
    if (!end.value.fraction.empty() || !end.exclusive) return end.value.integer;
    if (end.value.integer == "0") return std::nullopt;
    return Decrement(end.value.integer);
  };
  const auto side = [&](std::string from, const std::optional<NumberBounds::End>& to) {
    if (!to.has_value()) return builder.Naturals(from, std::nullopt);
    const std::optional<std::string> last = largest(*to);
    return last.has_value() && CompareDigits(from, *last) <= 0 ? builder.Naturals(from, last) : rules.Never();
  };
  std::vector<Node> ways;
  if (!bounds.low.has_value() || bounds.low->value.negative) {
    std::string from = bounds.high.has_value() && bounds.high->value.negative ? least(*bounds.high) : "1";
    ways.push_back(rules.Sequence({rules.Literal("-"), side(std::move(from), bounds.low)}));
  }
  if (!bounds.high.has_value() || !bounds.high->value.negative) {
    std::string from = bounds.low.has_value() && !bounds.low->value.negative ? least(*bounds.low) : "0";
    ways.push_back(side(std::move(from), bounds.high));
  }
  return rules.Choice(ways);
}

Node NumbersWithin(const NumberBounds& bounds, Rules& rules, JsonText& json) {
  if (bounds.none()) return json.Number();
  Builder builder(rules, json);
  const auto end_of = [](const std::optional<NumberBounds::End>& end) {
    return end.has_value() ? std::optional(MagnitudeOf(*end)) : std::nullopt;
  };
  std::vector<Node> ways;
  if (!bounds.low.has_value() || bounds.low->value.negative) {
    const bool below_zero = bounds.high.has_value() && bounds.high->value.negative;
    const Magnitude from =
        below_zero ? MagnitudeOf(*bounds.high) : Magnitude{.integer = "0", .fraction = "", .exclusive = true};
    ways.push_back(rules.Sequence({rules.Literal("-"), builder.Decimals(from, end_of(bounds.low))}));
  }
  if (!bounds.high.has_value() || !bounds.high->value.negative) {
    const bool from_low = bounds.low.has_value() && !bounds.low->value.negative;
    ways.push_back(builder.Decimals(from_low ? MagnitudeOf(*bounds.low) : Magnitude(), end_of(bounds.high)));
  }
  return rules.Choice(ways);
}

}  // namespace barn::grammar
