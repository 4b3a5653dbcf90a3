#include <cstdint>
#include <cstdlib>
#include <string>

#include "coordinator/text/tools/answer_parser.h"

// Any text, for any family: no crash, and the same parts however it is cut.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const barn::AnswerFormat format{
      .family = static_cast<barn::CallFamily>(data[0] % 8), .think_begin = "<think>", .think_end = "</think>"};
  const barn::AnswerParserOptions options{.tools = {{.name = "f", .text_parameters = {"a"}}},
                                          .one_call = (data[1] & 1) != 0,
                                          .in_reasoning = (data[1] & 2) != 0};
  const std::string text(reinterpret_cast<const char*>(data + 2), size - 2);
  const auto run = [&](size_t step) {
    const auto parser = barn::MakeAnswerParser(format, options);
    std::string all;
    const auto take = [&all](const std::vector<barn::AnswerPart>& parts) {
      for (const barn::AnswerPart& part : parts) {
        if (part.kind == barn::AnswerPart::Kind::kContent) all += part.text;
        if (part.kind == barn::AnswerPart::Kind::kCall) all += "\x01" + part.call.name + part.call.arguments;
      }
    };
    for (size_t at = 0; at < text.size(); at += step) take(parser->Push(std::string_view(text).substr(at, step)));
    take(parser->Finish());
    return all;
  };
  if (run(1) != run(text.size() + 1)) std::abort();
  return 0;
}
