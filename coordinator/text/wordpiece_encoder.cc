#include "coordinator/text/wordpiece_encoder.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "absl/status/status.h"
#include "coordinator/text/spm_encoder.h"
#include "coordinator/text/utf8.h"

namespace barn {
namespace {

constexpr size_t kWordCharsMax = 100;  // Longer words are unknown: BERT's own bound.

void AppendUtf8(UChar32 c, std::string& out) {
  char bytes[U8_MAX_LENGTH];
  int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, c);
  out.append(bytes, static_cast<size_t>(size));
}

// BERT's CJK ideographs: the blocks of Unicode 8 that hold them.
bool IsIdeograph(UChar32 c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool IsDropped(UChar32 c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c == 0 || c == 0xFFFD || (U_GET_GC_MASK(c) & U_GC_C_MASK) != 0;
}

bool IsPunctuation(UChar32 c) {
  const bool ascii =
      (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  return ascii || (U_GET_GC_MASK(c) & U_GC_P_MASK) != 0;
}

// Takes accents off (NFD without nonspacing marks) and makes lower case of what is left.
void AppendPlain(UChar32 c, std::string& out) {
  UErrorCode error = U_ZERO_ERROR;
  const UNormalizer2* nfd = unorm2_getNFDInstance(&error);
  UChar parts[32];
  const int32_t count = U_SUCCESS(error) ? unorm2_getDecomposition(nfd, c, parts, 32, &error) : -1;
  if (count < 0 || U_FAILURE(error)) {
    if (u_charType(c) != U_NON_SPACING_MARK) AppendUtf8(u_tolower(c), out);
    return;
  }
  for (int32_t i = 0; i < count;) {
    UChar32 part;
    U16_NEXT(parts, i, count, part);
    if (u_charType(part) != U_NON_SPACING_MARK) AppendUtf8(u_tolower(part), out);
  }
}

// Calls word(text) for each.
template <class Word>
void SplitWords(std::string_view text, bool lower_case, Word word) {
  std::string current;
  const auto end_word = [&] {
    if (!current.empty()) word(current);
    current.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = ReadUtf8(text.substr(at));
    UChar32 c = 0xFFFD;
    if (step.kind == Utf8Kind::kCharacter) {
      int32_t begin = 0;
      U8_NEXT_UNSAFE(text.data() + at, begin, c);
    }
    at += step.bytes;
    if (IsDropped(c)) continue;
    const bool alone = IsIdeograph(c) || IsPunctuation(c);
    const bool white = u_isUWhiteSpace(c);
    if (white || alone) end_word();
    if (white) continue;
    lower_case ? AppendPlain(c, current) : AppendUtf8(c, current);
    if (alone) end_word();
  }
  end_word();
}

size_t CountCharacters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

WordPieceEncoder::WordPieceEncoder(const Vocabulary& vocabulary) : unknown_id_(vocabulary.unk) {
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& text = vocabulary.tokens[i];
    const TokenType type = vocabulary.types[i];
    // Plain text must not spell control tokens.
    if (text.empty() || type == TokenType::kControl || type == TokenType::kUnknown) continue;
    pieces_.emplace(text, static_cast<int32_t>(i));  // The first of equal ones.
    piece_bytes_max_ = std::max(piece_bytes_max_, text.size());
    const bool marker = text.front() == '[' || text.starts_with(std::string(kSpaceMark) + "[");
    const auto capital = [](char c) { return c >= 'A' && c <= 'Z'; };
    lower_case_ = lower_case_ && (marker || std::none_of(text.begin(), text.end(), capital));
  }
}

absl::Status WordPieceEncoder::Append(std::string_view text, std::vector<int32_t>* ids) const {
  SplitWords(text, lower_case_, [&](std::string_view word) { AppendWord(word, ids); });
  return absl::OkStatus();
}

void WordPieceEncoder::AppendWord(std::string_view word, std::vector<int32_t>* ids) const {
  const size_t before = ids->size();
  const std::string marked = std::string(kSpaceMark).append(word);
  std::string_view rest = marked;
  const bool known_length = CountCharacters(word) <= kWordCharsMax;
  while (known_length && !rest.empty()) {
    size_t length = std::min(rest.size(), piece_bytes_max_);
    auto piece = pieces_.end();
    for (; length > 0; --length) {
      piece = pieces_.find(rest.substr(0, length));
      // The mark alone is no piece of a word.
      if (piece != pieces_.end() && (rest.data() != marked.data() || length > kSpaceMark.size())) break;
      piece = pieces_.end();
    }
    if (piece == pieces_.end()) break;
    ids->push_back(piece->second);
    rest.remove_prefix(length);
  }
  if (known_length && rest.empty()) return;
  ids->resize(before);
  ids->push_back(unknown_id_);
}

}  // namespace barn
