#include "coordinator/text/infill.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using Ids = std::vector<int32_t>;

struct Marks {
  int32_t prefix = -1;
  int32_t suffix = -1;
  int32_t middle = -1;  // -1: the answer follows the prefix, and the suffix comes first (Codestral).
  int32_t file = -1;
};

// What the marks of a family are called. The last one stands before a file; a family may lack it.
struct MarkNames {
  std::string_view prefix, suffix, middle, file;
};

constexpr MarkNames kFamilies[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"},        // Qwen coders.
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"},  // CodeGemma.
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>"},                // StarCoder 2.
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>"},                // StarCoder, Granite.
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>", ""},
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", ""},  // DeepSeek coders.
    {"▁<PRE>", "▁<SUF>", "▁<MID>", ""},                          // Code Llama.
    {"<PRE>", "<SUF>", "<MID>", ""},
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", ""},  // GLM.
    {"[PREFIX]", "[SUFFIX]", "", ""},                               // Codestral.
};

// The control token of this name, or -1.
int32_t Find(const Tokenizer& tokenizer, std::string_view name) {
  if (name.empty()) return -1;
  const auto ids = tokenizer.Encode(name, {.add_special = false, .parse_special = true, .continues = true});
  return ids.ok() && ids->size() == 1 && tokenizer.IsSpecial(ids->front()) ? ids->front() : -1;
}

std::optional<Marks> FindMarks(const Tokenizer& tokenizer) {
  std::optional<Marks> found;
  for (const MarkNames& names : kFamilies) {
    const Marks marks = {.prefix = Find(tokenizer, names.prefix),
                         .suffix = Find(tokenizer, names.suffix),
                         .middle = Find(tokenizer, names.middle),
                         .file = Find(tokenizer, names.file)};
    if (marks.prefix < 0 || marks.suffix < 0 || (marks.middle < 0 && !names.middle.empty())) continue;
    if (marks.file >= 0) return marks;
    if (!found.has_value()) found = marks;  // A later family may name the mark between files.
  }
  return found;
}

absl::StatusOr<Ids> EncodePlain(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.Encode(text, {.add_special = false, .parse_special = false, .continues = true});
}

// The other files in order, from the end of what has room.
absl::StatusOr<Ids> EncodeOthers(const Tokenizer& tokenizer, const Marks& marks, const std::vector<InfillFile>& others,
                                 int64_t room) {
  Ids ids;
  for (auto file = others.rbegin(); file != others.rend() && room > 0; ++file) {
    const bool marked = marks.file >= 0;
    const std::string text = marked ? absl::StrFormat("%s\n%s\n", file->name, file->text)
                                    : absl::StrFormat("--- %s ---\n%s\n", file->name, file->text);
    auto one = EncodePlain(tokenizer, text);
    if (!one.ok()) return one;
    if (marked) one->insert(one->begin(), marks.file);
    // Half of a file is worth something without a mark, but a name without its text is not.
    if (static_cast<int64_t>(one->size()) > room) {
      if (marked) break;
      one->erase(one->begin(), one->end() - room);
    }
    room -= static_cast<int64_t>(one->size());
    ids.insert(ids.begin(), one->begin(), one->end());
  }
  return ids;
}

}  // namespace

bool HasInfillMarks(const Tokenizer& tokenizer) { return FindMarks(tokenizer).has_value(); }

absl::StatusOr<Ids> InfillPrompt(const Tokenizer& tokenizer, const InfillText& text, int64_t tokens_max) {
  const std::optional<Marks> marks = FindMarks(tokenizer);
  if (!marks.has_value()) {
    return absl::UnimplementedError("the model cannot fill in the middle: its vocabulary has no marks for that");
  }
  BARN_ASSIGN_OR_RETURN(Ids before, EncodePlain(tokenizer, text.before));
  BARN_ASSIGN_OR_RETURN(Ids after, EncodePlain(tokenizer, text.after));
  BARN_ASSIGN_OR_RETURN(const Ids begun, EncodePlain(tokenizer, text.begun));
  const int32_t bos = tokenizer.vocabulary().add_bos ? tokenizer.vocabulary().bos : -1;
  // Four marks at most around the gap, and the begin token.
  const int64_t fixed = std::ssize(begun) + (bos >= 0 ? 1 : 0) + (marks->middle >= 0 ? 3 : 2) +
                        (text.others.empty() || marks->file < 0 ? 0 : 1);
  int64_t room = tokens_max - fixed;
  if (room < 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d tokens of context are left for the prompt, %d are needed around the gap", tokens_max, fixed));
  }
  // Before and after lend each other what they do not need.
  const int64_t after_kept = std::min(std::ssize(after), std::max(room / 4, room - std::ssize(before)));
  const int64_t before_kept = std::min(std::ssize(before), room - after_kept);
  before.erase(before.begin(), before.end() - before_kept);
  after.resize(after_kept);
  room -= before_kept + after_kept;
  BARN_ASSIGN_OR_RETURN(const Ids others, EncodeOthers(tokenizer, *marks, text.others, room));

  Ids ids;
  const auto append = [&ids](const Ids& part) { ids.insert(ids.end(), part.begin(), part.end()); };
  if (bos >= 0) ids.push_back(bos);
  append(others);
  if (!others.empty() && marks->file >= 0) ids.push_back(marks->file);
  if (marks->middle >= 0) {
    ids.push_back(marks->prefix);
    append(before);
    ids.push_back(marks->suffix);
    append(after);
    ids.push_back(marks->middle);
  } else {
    ids.push_back(marks->suffix);
    append(after);
    ids.push_back(marks->prefix);
    append(before);
  }
  append(begun);
  return ids;
}

}  // namespace barn
