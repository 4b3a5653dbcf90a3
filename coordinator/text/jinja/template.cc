#include "coordinator/text/jinja/template.h"

#include <utility>

#include "coordinator/text/jinja/parser.h"
#include "coordinator/text/jinja/renderer.h"

namespace barn::jinja {

absl::StatusOr<Template> Template::Parse(std::string_view source) {
  absl::StatusOr<Body> body = ParseTemplate(source);
  if (!body.ok()) return body.status();
  return Template(*std::move(body));
}

absl::StatusOr<std::string> Template::Render(const Dict& inputs, const RenderOptions& options) const {
  return Renderer(inputs, options).Run(*body_);
}

}  // namespace barn::jinja
