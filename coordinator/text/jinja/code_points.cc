#include "coordinator/text/jinja/code_points.h"

#include "coordinator/text/utf8.h"

namespace barn::jinja {

uint32_t NextCodePoint(std::string_view text, size_t& at) {
  const Utf8Step step = ReadUtf8(text.substr(at));
  const std::string_view bytes = text.substr(at, step.bytes);
  at += step.bytes;
  if (step.kind != Utf8Kind::kCharacter) return 0xfffd;
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (bytes.size() == 1) return first;
  uint32_t point = first & (0x7fu >> bytes.size());
  for (const char c : bytes.substr(1)) point = point << 6 | (static_cast<unsigned char>(c) & 0x3fu);
  return point;
}

void AppendUtf8(uint32_t point, std::string& out) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xc0 | point >> 6);
    tail(0);
  } else if (point < 0x10000) {
    out += static_cast<char>(0xe0 | point >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xf0 | (point >> 18 & 7));
    tail(12), tail(6), tail(0);
  }
}

size_t CountCodePoints(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) NextCodePoint(text, at);
  return count;
}

size_t OffsetOf(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) NextCodePoint(text, at);
  return at;
}

}  // namespace barn::jinja
