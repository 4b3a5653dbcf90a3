#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace barn {

// Status line and header of a response, with Date and Server, up to and with the empty line.
std::string ReplyHead(int status, absl::Time now, const std::vector<std::pair<std::string, std::string>>& headers);

// One chunk of a chunked body (RFC 9112, section 7.1). bytes must not be empty: that would end the body.
std::string Chunk(const std::string& bytes);

}  // namespace barn
