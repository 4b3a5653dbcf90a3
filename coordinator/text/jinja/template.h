#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/text/jinja/syntax.h"

namespace barn::jinja {

// What a rendering may cost. A step is a statement or an expression, or 64 bytes made.
struct RenderOptions {
  int64_t steps_max = 20'000'000;
  size_t bytes_max = size_t{256} << 20;   // Of all texts and lists made on the way, and of the result.
  absl::Time now = absl::InfinitePast();  // For strftime_now.
  absl::TimeZone time_zone = absl::UTCTimeZone();
};

// A chat template in the part of Jinja2 that chat templates use, in the environment of Hugging Face's transformers
// (trim_blocks, lstrip_blocks, loop controls, the generation tag, tojson without HTML escapes). Reads no file and
// changes nothing that it is given. Immutable; thread-safe.
class Template {
 public:
  // InvalidArgument, with line and construct: see ParseTemplate.
  static absl::StatusOr<Template> Parse(std::string_view source);

  // InvalidArgument, with the line: the template's own raise_exception, an operation that Python would refuse, or more
  // work than the options allow.
  absl::StatusOr<std::string> Render(const Dict& inputs, const RenderOptions& options) const;

 private:
  explicit Template(Body body) : body_(std::make_shared<const Body>(std::move(body))) {}
  std::shared_ptr<const Body> body_;
};

}  // namespace barn::jinja
