#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/config_reader.h"
#include "worker/model/spec.h"

namespace barn {

// One function for each architecture, in the file of its name.
ModelSpec DescribeBert(ConfigReader& reader);
ModelSpec DescribeCommandR(ConfigReader& reader);
ModelSpec DescribeDeepseek2(ConfigReader& reader);
ModelSpec DescribeGemma2(ConfigReader& reader);
ModelSpec DescribeGemma3(ConfigReader& reader);
ModelSpec DescribeGemmaEmbedding(ConfigReader& reader);
ModelSpec DescribeGlm4Moe(ConfigReader& reader);
ModelSpec DescribeGptOss(ConfigReader& reader);
ModelSpec DescribeGraniteMoe(ConfigReader& reader);
ModelSpec DescribeJinaBertV2(ConfigReader& reader);
ModelSpec DescribeLlama(ConfigReader& reader);
ModelSpec DescribeLlama4(ConfigReader& reader);
ModelSpec DescribeMistral3(ConfigReader& reader);
ModelSpec DescribeModernBert(ConfigReader& reader);
ModelSpec DescribeNomicBert(ConfigReader& reader);
ModelSpec DescribeOlmoe(ConfigReader& reader);
ModelSpec DescribePhi3(ConfigReader& reader);
ModelSpec DescribeQwen2(ConfigReader& reader);
ModelSpec DescribeQwen2Moe(ConfigReader& reader);
ModelSpec DescribeQwen3(ConfigReader& reader);
ModelSpec DescribeQwen3Moe(ConfigReader& reader);
ModelSpec DescribeStarcoder2(ConfigReader& reader);

// By GGUF general.architecture, sorted.
std::vector<std::string> DescribedArchitectures();

// The model as data, from its header alone. context_tokens: the longest sequence that will run; 0: the model's own.
// Unimplemented: an unknown architecture. InvalidArgument: a key is missing or out of bounds, by name.
absl::StatusOr<ModelSpec> DescribeModel(const GgufModel& model, int64_t context_tokens);

}  // namespace barn
