#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/http/served_model.h"
#include "coordinator/text/tokenizer.h"
#include "sharding/gguf.h"

namespace barn {

// The template of the file `chat_template`, or the model's own where that is "", and what clients may ask about the
// model. One that cannot be used is told when a chat comes; a file's at once. InvalidArgument.
absl::Status ChooseTemplate(const std::string& chat_template, const GgufModel& model, const std::string& version,
                            ServedModel& served);

// A model whose file has been read, as far as the coordinator needs it.
struct OpenedModel {
  std::unique_ptr<GgufModel> file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ServedModel> served;  // Borrows the tokenizer.

  // Reads the header at a path or URL. Errors of the store, of the format, of ChooseTemplate; Unimplemented: what the
  // model needs is not supported.
  static absl::StatusOr<OpenedModel> Open(const std::string& location, const std::string& id,
                                          const std::string& chat_template, const std::string& version);
};

}  // namespace barn
