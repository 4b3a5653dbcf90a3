#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "coordinator/http/api_error.h"
#include "coordinator/http/shared_fields.h"
#include "coordinator/text/infill.h"

namespace barn {

inline constexpr int64_t kInfillFilesMax = 1024;

// POST /completion and /infill, as llama-server's users know them.
struct NativeRequest {
  SharedFields shared;  // max_tokens is n_predict; absent: as long as the context allows.
  std::variant<std::string, std::vector<int32_t>> prompt;  // Text or token ids, not checked yet.
  InfillText infill;                                       // Of /infill, with the prompt in `begun`.
};

// Fill the struct from a JSON body and return what is wrong with it, naming the field. Samplers that are not set are
// those of llama-server (temperature 0.8, top_k 40, top_p 0.95, min_p 0.05).
std::optional<ApiError> ReadNativeCompletion(const nlohmann::json& body, NativeRequest& request);
std::optional<ApiError> ReadNativeInfill(const nlohmann::json& body, NativeRequest& request);

}  // namespace barn
