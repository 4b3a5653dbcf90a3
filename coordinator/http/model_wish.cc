#include "coordinator/http/model_wish.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/http/json_reader.h"
#include "coordinator/http/url.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr absl::Duration kForEver = absl::Seconds(-1);
constexpr double kSecondsMax = 10.0 * 365 * 24 * 3600;
constexpr size_t kNameBytesMax = 512;

// A few entries of the outermost object, without building the rest: bodies may be long, and they are read again.
class TopReader final : public nlohmann::json_sax<Json> {
 public:
  std::map<std::string, Json, std::less<>> values;
  bool has_prompt = false;  // Or messages, that are not empty.
  bool is_object = false;

  bool null() override { return Take(nullptr); }
  bool boolean(bool value) override { return Take(value); }
  bool number_integer(number_integer_t value) override { return Take(value); }
  bool number_unsigned(number_unsigned_t value) override { return Take(value); }
  bool number_float(number_float_t value, const string_t&) override { return Take(value); }
  bool string(string_t& value) override {
    if (depth_ == 1 && key_ == "prompt") has_prompt = has_prompt || !value.empty();
    return Take(value.size() <= kNameBytesMax ? Json(value) : Json(Json::array()));
  }
  bool binary(binary_t&) override { return true; }
  bool key(string_t& value) override {
    if (depth_ == 1) key_ = value.size() <= kNameBytesMax ? value : "";
    return true;
  }
  bool start_object(std::size_t) override { return Begin(true); }
  bool start_array(std::size_t) override { return Begin(false); }
  bool end_object() override { return End(); }
  bool end_array() override { return End(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  bool Begin(bool object) {
    if (depth_ == 0) is_object = object;
    if (depth_ == 2 && key_ == "messages") has_prompt = true;
    ++depth_;
    return true;
  }
  bool End() {
    --depth_;
    return true;
  }
  bool Take(Json value) {
    constexpr std::string_view kWanted[] = {"model", "name", "from", "keep_alive", "lora_name", "base_model_name"};
    const bool wanted = depth_ == 1 && std::count(std::begin(kWanted), std::end(kWanted), key_) > 0;
    if (wanted) values[key_] = std::move(value);
    return true;
  }

  int depth_ = 0;
  std::string key_;  // The last of the outermost object.
};

const std::string* Text(const TopReader& reader, const char* name) {
  const auto found = reader.values.find(name);
  return found != reader.values.end() && found->second.is_string() ? found->second.get_ptr<const std::string*>()
                                                                   : nullptr;
}

bool IsUrl(const std::string& text) { return absl::StartsWith(text, "http://") || absl::StartsWith(text, "https://"); }

}  // namespace

std::optional<absl::Duration> ParseKeepAlive(const Json& value) {
  double seconds = 0;
  if (value.is_number()) {
    seconds = value.get<double>();
  } else if (!value.is_string()) {
    return std::nullopt;
  } else if (const auto& text = value.get_ref<const std::string&>(); !absl::SimpleAtod(text, &seconds)) {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration)) return std::nullopt;
    seconds = absl::ToDoubleSeconds(duration);
  }
  if (!(seconds == seconds)) return std::nullopt;  // Not a number.
  if (seconds < 0 || seconds > kSecondsMax) return kForEver;
  return absl::Seconds(seconds);
}

std::variant<ApiError, ModelWish> ReadWish(const HttpRequest& request, ModelNeed need) {
  TopReader reader;
  const bool read = Json::sax_parse(request.body, &reader);
  if (!read || !reader.is_object) {
    if (request.body.empty()) return BadParam("body", "missing request body");
    const absl::StatusOr<Json> body = ReadJson(request.body);  // For its words.
    return body.ok() ? BadParam("body", "the body must be a JSON object") : FromStatus(body.status());
  }
  ModelWish wish;
  // An adapter stands for its model.
  const std::string* name = Text(reader, request.path == "/v1/unload_lora_adapter" ? "lora_name" : "model");
  if (name == nullptr || name->empty()) {
    name = Text(reader, request.path == "/v1/load_lora_adapter" ? "base_model_name" : "name");
  }
  if (name == nullptr || name->empty()) {
    return BadParam("model", "'model' is required, as text: this server offers several models; see /v1/models");
  }
  wish.name = *name;
  wish.load = need == ModelNeed::kLoaded;
  if (request.wait_s >= 0) wish.wait_max = std::min(kLoadWaitMax, absl::Seconds(request.wait_s));
  if (DialectOf(request.path) != Dialect::kOllama) return wish;
  if (const auto found = reader.values.find("keep_alive"); found != reader.values.end() && !found->second.is_null()) {
    wish.keep_alive = ParseKeepAlive(found->second);
    if (!wish.keep_alive.has_value()) {
      return BadParam("keep_alive", "'keep_alive' must be a number of seconds or a text such as \"5m\"");
    }
  }
  const bool asks = request.path == "/api/generate" || request.path == "/api/chat";
  if (asks && !reader.has_prompt && wish.keep_alive == absl::ZeroDuration()) {
    wish.load = false;
    wish.unload = true;
  }
  if (const std::string* from = Text(reader, "from"); from != nullptr) wish.from = *from;
  if (request.path == "/api/pull" && IsUrl(wish.name)) {
    wish.from = wish.name;
    wish.name = FileStem(wish.name);
  }
  if (request.path != "/api/pull" && request.path != "/api/create") wish.from.clear();
  if (request.path == "/api/pull" && !wish.from.empty() && !IsUrl(wish.from)) {
    return BadParam("from", "'from' must be an http(s) URL of a GGUF file");
  }
  return wish;
}

}  // namespace barn
