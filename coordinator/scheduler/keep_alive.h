#pragma once

#include "absl/time/time.h"

namespace barn {

// How long a model that nobody uses stays loaded, unless it or a request says otherwise. As Ollama's.
inline constexpr absl::Duration kKeepAliveDefault = absl::Minutes(5);

}  // namespace barn
