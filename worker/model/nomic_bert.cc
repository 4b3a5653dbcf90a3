#include "worker/model/architectures.h"
#include "worker/model/encoder.h"

namespace barn {

// Nomic Embed (Nussbaum et al. 2024, section 3): BERT with rotary positions and a SwiGLU feed-forward part.
ModelSpec DescribeNomicBert(ConfigReader& reader) { return ReadEncoder(reader); }

}  // namespace barn
