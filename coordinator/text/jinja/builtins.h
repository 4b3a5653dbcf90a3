#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/text/jinja/value.h"

namespace barn::jinja {

struct Arguments {
  List positional = {};
  std::vector<std::pair<std::string, Value>> named = {};

  // The argument at `index` or called `name`; null if neither was given.
  const Value* Get(size_t index, std::string_view name) const;
  Arguments From(size_t first) const;  // Without the positional ones before `first`.
};

// What built-in functions ask of the rendering at hand.
class Context {
 public:
  virtual ~Context() = default;

  // Ends the rendering with an error at the line at hand, if it goes on. Returns an undefined value.
  virtual Value Fail(const std::string& what) = 0;
  virtual bool ok() const = 0;
  // Counts memory and work; false, after Fail, when there is no more. Ask before making something large.
  virtual bool Charge(size_t bytes) = 0;
  // Bytes that may still be made.
  virtual size_t bytes_left() const = 0;
  virtual absl::Time now() const = 0;
  virtual absl::TimeZone time_zone() const = 0;
  // str(value), charged.
  virtual std::string Text(const Value& value) = 0;
  // The attribute or item `name`, as the expressions a.name and a[name] read it; undefined if there is none.
  virtual Value Attribute(const Value& value, std::string_view name) = 0;
};

// Names are checked when a template is parsed.
bool IsFilter(std::string_view name);
Value ApplyFilter(Context& context, std::string_view name, const Value& input, const Arguments& arguments);

bool IsTest(std::string_view name);
bool ApplyTest(Context& context, std::string_view name, const Value& subject, const Arguments& arguments);

// Methods of strings and dicts; lists have those that change nothing.
bool HasMethod(const Value& self, std::string_view name);
Value CallMethod(Context& context, const Value& self, std::string_view name, const Arguments& arguments);

// range, dict, namespace, raise_exception, strftime_now.
bool IsFunction(std::string_view name);
Value CallFunction(Context& context, std::string_view name, const Arguments& arguments);

// The items that a loop over `value` visits: of a list, the characters of a string, the keys of a dict. False, after
// Fail, for what has none.
bool Items(Context& context, const Value& value, List& items);
// Whether `container` holds `item`; Fail for what holds nothing.
bool Contains(Context& context, const Value& container, const Value& item);

}  // namespace barn::jinja
