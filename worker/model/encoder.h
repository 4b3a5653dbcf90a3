#pragma once

#include "worker/model/config_reader.h"
#include "worker/model/spec.h"

namespace barn {

// What the encoders of the BERT family share: embeddings of tokens and types under a norm, attention both ways, norms
// behind each branch (Devlin et al. 2019; Vaswani et al. 2017, section 3.1). An architecture starts from this and
// states where it differs.
ModelSpec ReadEncoder(ConfigReader& reader);

}  // namespace barn
