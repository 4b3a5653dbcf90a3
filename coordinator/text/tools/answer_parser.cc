#include "coordinator/text/tools/answer_parser.h"

#include "coordinator/text/tools/harmony_parser.h"
#include "coordinator/text/tools/tagged_parser.h"

namespace barn {

void AppendPart(AnswerPart::Kind kind, std::string_view text, std::vector<AnswerPart>& parts) {
  if (text.empty()) return;
  if (parts.empty() || parts.back().kind != kind) parts.push_back({.kind = kind});
  parts.back().text += text;
}

std::unique_ptr<AnswerParser> MakeAnswerParser(const AnswerFormat& format, AnswerParserOptions options) {
  if (format.family == CallFamily::kHarmony) return std::make_unique<HarmonyParser>(std::move(options));
  return std::make_unique<TaggedParser>(format, std::move(options));
}

}  // namespace barn
