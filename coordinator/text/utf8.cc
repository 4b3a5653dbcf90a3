#include "coordinator/text/utf8.h"

#include <cstdint>

namespace barn {
namespace {

// How a character that starts with `lead` goes on: its length (0: no character starts so) and the range of the second
// byte.
struct Shape {
  size_t bytes;
  uint8_t second_min;
  uint8_t second_max;
};

Shape ShapeOf(uint8_t lead) {
  if (lead < 0x80) return {1, 0x80, 0xBF};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};  // Below: an overlong form.
  if (lead == 0xED) return {3, 0x80, 0x9F};  // Above: surrogates.
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};  // Below: an overlong form.
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};  // Above: beyond U+10FFFF.
  return {0, 0, 0};
}

}  // namespace

Utf8Step ReadUtf8(std::string_view text) {
  const Shape shape = ShapeOf(static_cast<uint8_t>(text[0]));
  if (shape.bytes == 0) return {1, Utf8Kind::kBroken};
  for (size_t i = 1; i < shape.bytes; ++i) {
    if (i == text.size()) return {i, Utf8Kind::kIncomplete};
    const auto byte = static_cast<uint8_t>(text[i]);
    const uint8_t min = i == 1 ? shape.second_min : 0x80;
    const uint8_t max = i == 1 ? shape.second_max : 0xBF;
    if (byte < min || byte > max) return {i, Utf8Kind::kBroken};
  }
  return {shape.bytes, Utf8Kind::kCharacter};
}

size_t WellFormedPrefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Step step = ReadUtf8(text.substr(at));
    if (step.kind != Utf8Kind::kCharacter) return at;
    at += step.bytes;
  }
  return at;
}

std::string ReplaceBrokenUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t good = WellFormedPrefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    out.append(kReplacementCharacter);
    text.remove_prefix(ReadUtf8(text).bytes);
  }
  return out;
}

}  // namespace barn
