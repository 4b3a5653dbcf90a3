#include "coordinator/text/byte_alphabet.h"

#include <array>

#include "absl/strings/ascii.h"
#include "coordinator/text/utf8.h"

namespace barn {
namespace {

constexpr int kCodesMax = 256 + 68;

bool PrintsInLatin1(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

struct Alphabet {
  std::array<int, 256> code_of_byte;
  std::array<int, kCodesMax> byte_of_code;
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet = [] {
    Alphabet a;
    a.byte_of_code.fill(-1);
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      a.code_of_byte[byte] = PrintsInLatin1(byte) ? byte : next++;
      a.byte_of_code[a.code_of_byte[byte]] = byte;
    }
    return a;
  }();
  return alphabet;
}

}  // namespace

std::string ByteToAlphabet(uint8_t byte) {
  const int code = TheAlphabet().code_of_byte[byte];
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

bool AlphabetToBytes(std::string_view piece, std::string* bytes) {
  bytes->clear();
  while (!piece.empty()) {
    const Utf8Step step = ReadUtf8(piece);
    if (step.kind != Utf8Kind::kCharacter || step.bytes > 2) return false;
    int code = static_cast<uint8_t>(piece[0]);
    if (step.bytes == 2) code = (code & 0x1F) << 6 | (static_cast<uint8_t>(piece[1]) & 0x3F);
    if (code >= kCodesMax || TheAlphabet().byte_of_code[code] < 0) return false;
    bytes->push_back(static_cast<char>(TheAlphabet().byte_of_code[code]));
    piece.remove_prefix(step.bytes);
  }
  return true;
}

std::optional<uint8_t> ParseByteToken(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    if (!absl::ascii_isxdigit(c)) return std::nullopt;
    value = value * 16 + (absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10);
  }
  return static_cast<uint8_t>(value);
}

}  // namespace barn
