#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "nlohmann/json.hpp"
#include "sharding/gguf.h"
#include "worker/memory/mapped_weights.h"
#include "worker/model/slice.h"

namespace barn {

// One of the tiny encoders that tests/data/encoders/make_encoders.py has written to the build, and what they say.
struct EncoderModel {
  struct Case {
    std::vector<int32_t> ids;
    std::vector<float> hidden;  // [T, D]
    float score = 0;            // Of models with a classification head.
  };

  std::string name;
  std::unique_ptr<GgufModel> header;
  std::unique_ptr<MappedWeights> weights;
  std::vector<Case> cases;
};

std::vector<std::string> EncoderNames();
EncoderModel LoadEncoder(const std::string& name);

struct EncoderRun {
  KvType kv_type = KvType::kF32;
  int64_t cut = 0;  // First layer of a second slice; 0: one slice.
  int ranks = 1;
  std::function<std::unique_ptr<Device>()> make_device = nullptr;  // Null: a CPU device.
  bool scores = false;
};

struct EncoderOutput {
  std::vector<std::vector<float>> hidden;  // Of each sequence: [T, D].
  std::vector<float> scores;               // Of each sequence.
};

// All sequences in one step.
EncoderOutput RunEncoder(const EncoderModel& model, const EncoderRun& run,
                         const std::vector<std::vector<int32_t>>& sequences);

SliceOptions EncoderSlice(const EncoderModel& model, Device& device);

}  // namespace barn
