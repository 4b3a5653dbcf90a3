#include "coordinator/http/json_reader.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace barn {
namespace {

using Json = nlohmann::json;

// Builds the value and stops the parser at the first breach of a limit.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override { return Add(value) != nullptr; }
  bool string(string_t& value) override { return Add(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return Fail("binary values have no place in JSON"); }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name))
      return Fail(absl::StrCat("the key '", name.substr(0, 80), "' stands twice in one object"));
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const absl::string_view what = error.what();
    const size_t start = what.find("] ");
    return Fail(absl::StrCat("byte ", position, ": ", what.substr(start == what.npos ? 0 : start + 2).substr(0, 200)));
  }

  const std::string& problem() const { return problem_; }
  Json Take() { return std::move(root_); }

 private:
  bool Fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  bool Open(Json empty) {
    if (static_cast<int>(open_.size()) >= limits_.depth_max) {
      return Fail(absl::StrCat("nested deeper than ", limits_.depth_max, " levels"));
    }
    Json* place = Add(std::move(empty));
    if (place == nullptr) return false;
    open_.push_back(place);
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  Json* Add(Json value) {
    if (++values_ > limits_.values_max) {
      Fail(absl::StrCat("holds more than ", limits_.values_max, " values"));
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[std::move(key_)] = std::move(value));
  }

  const JsonLimits limits_;
  int64_t values_ = 0;
  Json root_;
  // Only the last child of an open array is open itself, so growing the array never moves what this points to.
  std::vector<Json*> open_;
  std::string key_;
  std::string problem_;
};

}  // namespace

absl::StatusOr<Json> ReadJson(absl::string_view text, const JsonLimits& limits) {
  Builder builder(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::InvalidArgumentError(absl::StrCat("the body is not valid JSON: ", builder.problem()));
  }
  return builder.Take();
}

}  // namespace barn
