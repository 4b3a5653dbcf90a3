#pragma once

#include "coordinator/http/fields.h"
#include "coordinator/text/sampling/params.h"

namespace barn {

// Reads the sampling settings of an OpenAI request: its own fields, and what llama-server and others add to them, all
// at the top level of the body.
void ReadSampling(Fields& fields, SamplingParams& sampling);

}  // namespace barn
