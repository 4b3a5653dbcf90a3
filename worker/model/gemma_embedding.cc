#include "worker/model/architectures.h"

namespace barn {

// EmbeddingGemma (Schechter Vera et al. 2025, section 2.1): Gemma 3 that reads both ways, its windows on both sides of
// a token, with two products behind it.
ModelSpec DescribeGemmaEmbedding(ConfigReader& reader) {
  ModelSpec spec = DescribeGemma3(reader);
  spec.embedding_hidden = reader.TensorRows("dense_2.weight");
  reader.Require((spec.embedding_hidden > 0) == reader.HasTensor("dense_3.weight"),
                 "of dense_2.weight and dense_3.weight the file has only one");
  return spec;
}

}  // namespace barn
