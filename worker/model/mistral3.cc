#include "sharding/limits.h"
#include "worker/model/architectures.h"
#include "worker/model/decoder.h"

namespace barn {

// Mistral 3: Llama with a query temperature that grows with position.
ModelSpec DescribeMistral3(ConfigReader& reader) {
  ModelSpec spec = DescribeLlama(reader);
  if (reader.Has("attention.temperature_scale")) {
    for (LayerSpec& layer : spec.layers) {
      layer.attention.temperature = {.scale = reader.FloatOr("attention.temperature_scale", 0),
                                     .span = reader.Int("rope.scaling.original_context_length", kContextTokensMax)};
    }
  }
  return spec;
}

}  // namespace barn
