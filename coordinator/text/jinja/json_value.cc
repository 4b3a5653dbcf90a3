#include "coordinator/text/jinja/json_value.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/text/jinja/code_points.h"

namespace barn::jinja {
namespace {

constexpr size_t kDepthMax = 64;

// Builds values from nlohmann's events.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(None{}); }
  bool boolean(bool truth) override { return Add(truth); }
  bool number_integer(number_integer_t number) override { return Add(static_cast<int64_t>(number)); }
  bool number_unsigned(number_unsigned_t number) override {
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return Add(static_cast<double>(number));
    return Add(static_cast<int64_t>(number));
  }
  bool number_float(number_float_t number, const string_t&) override { return Add(number); }
  bool string(string_t& text) override { return Add(std::move(text)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(false); }
  bool start_array(size_t) override { return Open(true); }
  bool key(string_t& text) override {
    open_.back().key = std::move(text);
    return true;
  }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    error_ = error.what();
    return false;
  }

  Value root;
  const std::string& error() const { return error_; }

 private:
  struct Container {
    bool is_list = false;
    List items;
    Dict entries;
    std::string key;
  };

  bool Open(bool is_list) {
    if (open_.size() == kDepthMax) {
      error_ = absl::StrCat("it is nested deeper than ", kDepthMax);
      return false;
    }
    open_.push_back({.is_list = is_list, .items = {}, .entries = {}, .key = {}});
    return true;
  }
  bool Close() {
    Container done = std::move(open_.back());
    open_.pop_back();
    return Add(done.is_list ? Value(std::move(done.items)) : Value(std::move(done.entries)));
  }
  bool Add(Value value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (open_.back().is_list) {
      open_.back().items.push_back(std::move(value));
    } else {
      open_.back().entries.Set(open_.back().key, std::move(value));
    }
    return true;
  }

  std::vector<Container> open_;
  std::string error_;
};

// A code point above 0xffff takes two escapes, as in UTF-16.
void AppendEscape(uint32_t point, std::string& out) {
  if (point > 0xffff) {
    absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xd800 + ((point - 0x10000) >> 10),
                          0xdc00 + ((point - 0x10000) & 0x3ff));
  } else {
    absl::StrAppendFormat(&out, "\\u%04x", point);
  }
}

void AppendJsonText(std::string_view text, bool ascii, std::string& out) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    static constexpr std::string_view kShort = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    if (const size_t found = kShort.find(text[at]); found != kShort.npos) {
      out += '\\';
      out += kLetters[found];
      ++at;
    } else if (byte < 0x20) {
      AppendEscape(byte, out);
      ++at;
    } else if (byte < 0x80 || !ascii) {
      out += text[at++];
    } else {
      AppendEscape(NextCodePoint(text, at), out);
    }
  }
  out += '"';
}

class Writer {
 public:
  Writer(const JsonStyle& style, size_t bytes_max, std::string& out)
      : style_(style), bytes_max_(bytes_max), out_(out) {}

  absl::Status Write(const Value& value, int level) {
    if (value.text() != nullptr) {
      AppendJsonText(*value.text(), style_.ascii, out_);
    } else if (value.is_none()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.integer() != 0 ? "true" : "false";
    } else if (value.is_number()) {
      AppendText(value, bytes_max_, out_);
    } else if (const List* items = value.list()) {
      return WriteAll('[', ']', items->size(), level, [&](size_t i) { return Write((*items)[i], level + 1); });
    } else if (const Dict* dict = value.dict()) {
      return WriteDict(*dict, level);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("an object of type ", value.TypeName(), " has no form in JSON"));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WriteDict(const Dict& dict, int level) {
    std::vector<const std::pair<std::string, Value>*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    }
    return WriteAll('{', '}', entries.size(), level, [&](size_t i) {
      AppendJsonText(entries[i]->first, style_.ascii, out_);
      out_ += style_.key_separator;
      return Write(entries[i]->second, level + 1);
    });
  }

  template <class WriteOne>
  absl::Status WriteAll(char open, char close, size_t count, int level, WriteOne write_one) {
    out_ += open;
    for (size_t i = 0; i < count && out_.size() <= bytes_max_; ++i) {
      if (i > 0) out_ += style_.item_separator;
      Break(level + 1);
      if (absl::Status status = write_one(i); !status.ok()) return status;
    }
    if (count > 0) Break(level);
    out_ += close;
    return absl::OkStatus();
  }

  void Break(int level) {
    if (style_.indent < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(style_.indent) * static_cast<size_t>(level), ' ');
  }

  const JsonStyle& style_;
  const size_t bytes_max_;
  std::string& out_;
};

}  // namespace

absl::StatusOr<Value> ParseJson(std::string_view json) {
  Builder builder;
  if (!nlohmann::json::sax_parse(json, &builder)) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", builder.error()));
  }
  return std::move(builder.root);
}

absl::Status AppendJson(const Value& value, const JsonStyle& style, size_t bytes_max, std::string& out) {
  return Writer(style, bytes_max, out).Write(value, 0);
}

}  // namespace barn::jinja
