#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace barn::jinja {

class Value;
class Dict;
struct Callable;

using List = std::vector<Value>;

struct Undefined {
  std::string name;  // For the message of whoever uses it.
};
struct None {};

// What a template computes with: the part of Python's values that templates see. Lists and dicts are shared and, but
// for namespaces, never changed once a template can see them.
class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(None none) : data_(none) {}
  Value(bool truth) : data_(truth) {}
  Value(int64_t number) : data_(number) {}
  Value(double number) : data_(number) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(List items, bool tuple = false);
  Value(Dict entries);
  Value(std::shared_ptr<Dict> shared_namespace);
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_integer() || is_float() || is_bool(); }  // As in Python, True is 1.
  bool is_string() const { return text() != nullptr; }
  bool is_list() const { return list() != nullptr; }  // Tuples too.
  bool is_tuple() const;
  bool is_dict() const { return dict() != nullptr; }
  bool is_namespace() const { return mutable_dict() != nullptr; }

  const Undefined* undefined() const { return std::get_if<Undefined>(&data_); }
  const std::string* text() const;
  const List* list() const;
  const Dict* dict() const;    // Not of a namespace.
  Dict* mutable_dict() const;  // Of a namespace.
  const Callable* callable() const;
  int64_t integer() const;  // Of an integer or a bool.
  double number() const;    // Of any number.

  // Levels of lists and dicts in it; 0 for what holds nothing.
  int depth() const;
  bool Truth() const;
  // What Python calls it: "str", "int", ...
  const char* TypeName() const;

 private:
  struct ListBox {
    List items;
    bool tuple = false;
    int depth = 1;
  };
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const ListBox>, std::shared_ptr<const Dict>, std::shared_ptr<Dict>,
               std::shared_ptr<const Callable>>
      data_;
};

// Text keys in the order in which they came.
class Dict {
 public:
  const Value* Find(std::string_view key) const;
  // Replaces the value of a key that is there, in its place.
  void Set(std::string_view key, Value value);
  const std::vector<std::pair<std::string, Value>>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  static constexpr size_t kIndexFrom = 16;
  std::optional<size_t> Position(std::string_view key) const;
  std::vector<std::pair<std::string, Value>> entries_;
  int depth_ = 1;
  std::unordered_map<std::string, size_t> index_;  // From kIndexFrom entries on.
};

// A function, macro or bound method: its kind and what it is bound to are the renderer's business.
struct Callable {
  std::string name = {};
  const void* macro = nullptr;         // A macro's statement, or null.
  std::shared_ptr<void> closure = {};  // The scope in which the macro was defined.
  Value self = {};                     // Of a method.
  bool is_method = false;
};

// As Python compares: numbers by value, lists and dicts by content.
bool Equal(const Value& a, const Value& b);
// Less than, for two numbers, two strings or two lists of such; nothing otherwise.
std::optional<bool> Less(const Value& a, const Value& b);

// Python's str() and repr(). They stop once `out` has grown beyond bytes_max.
void AppendText(const Value& value, size_t bytes_max, std::string& out);
void AppendRepr(const Value& value, size_t bytes_max, std::string& out);
// repr() of a float: the shortest digits that give it back.
std::string FloatText(double number);

}  // namespace barn::jinja
