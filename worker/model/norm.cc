#include "worker/model/norm.h"

#include <string>

namespace barn {

Norm::Norm(TensorLoader& loader, const NormSpec& spec, std::string_view name, int64_t width)
    : spec_(spec),
      weight_(loader.Vector(std::string(name) + ".weight", width)),
      bias_(loader.Vector(std::string(name) + ".bias", width, spec.bias ? Presence::kRequired : Presence::kAbsent)) {}

void Norm::Apply(Device& device, Tensor x, Tensor out) const {
  if (spec_.subtract_mean) {
    device.LayerNorm(x, weight_, bias_, spec_.epsilon, out);
  } else {
    device.RmsNorm(x, weight_, spec_.epsilon, out);
  }
}

}  // namespace barn
