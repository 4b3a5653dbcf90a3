#pragma once

#include <optional>
#include <variant>

#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/model_directory.h"

namespace barn {

// What a request needs before its route can answer it.
enum class ModelNeed { kNothing, kOpened, kLoaded };

// Ollama's keep_alive: seconds, or a text such as "5m". Negative: for ever. Nothing: it is neither.
std::optional<absl::Duration> ParseKeepAlive(const nlohmann::json& value);

// The model that a request names in its body, and how it wants it. 400: the body is no JSON object or names none.
std::variant<ApiError, ModelWish> ReadWish(const HttpRequest& request, ModelNeed need);

}  // namespace barn
