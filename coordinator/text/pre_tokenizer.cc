#define PCRE2_CODE_UNIT_WIDTH 8
#include "coordinator/text/pre_tokenizer.h"

#include <pcre2.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "coordinator/text/utf8.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// The patterns need a few steps per byte; the limit only guards against one that backtracks without end.
constexpr uint32_t kMatchSteps = 100'000'000;
constexpr size_t kJitStackBytesMin = 32 << 10;
constexpr size_t kJitStackBytesMax = 8 << 20;

// Unicode White_Space. PCRE2's own \s adds U+180E, which Mongolian text uses inside of words.
constexpr std::string_view kWhiteSpace =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

template <class T, void (*free)(T*)>
struct Free {
  void operator()(T* p) const { free(p); }
};
template <class T, void (*free)(T*)>
using Owned = std::unique_ptr<T, Free<T, free>>;
using Code = Owned<pcre2_code, pcre2_code_free>;
using MatchData = Owned<pcre2_match_data, pcre2_match_data_free>;
using MatchContext = Owned<pcre2_match_context, pcre2_match_context_free>;
using JitStack = Owned<pcre2_jit_stack, pcre2_jit_stack_free>;

// Spells out \s and \S, inside of classes (\s only) and outside.
std::string ExpandWhiteSpace(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      in_class = c == '[' ? true : c == ']' ? false : in_class;
      out.push_back(c);
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's' && in_class) {
      out.append(kWhiteSpace);
    } else if (escaped == 's' || escaped == 'S') {
      out.append(escaped == 's' ? "[" : "[^").append(kWhiteSpace).append("]");
    } else {
      out.append({'\\', escaped});
    }
  }
  return out;
}

absl::StatusOr<Code> Compile(std::string_view pattern) {
  const std::string expanded = ExpandWhiteSpace(pattern);
  int error = 0;
  PCRE2_SIZE error_at = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expanded.data()), expanded.size(), PCRE2_UTF | PCRE2_UCP, &error,
                          &error_at, nullptr));
  if (code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    return absl::InvalidArgumentError(
        absl::StrFormat("pre-tokenizer pattern, offset %d: %s", error_at, reinterpret_cast<const char*>(message)));
  }
  // Where the system forbids JIT code the interpreter serves, slower.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

// What one call of Split needs to match.
struct Matcher {
  MatchContext context{pcre2_match_context_create(nullptr)};
  JitStack stack{pcre2_jit_stack_create(kJitStackBytesMin, kJitStackBytesMax, nullptr)};
  MatchData data{pcre2_match_data_create(1, nullptr)};

  Matcher() {
    pcre2_set_match_limit(context.get(), kMatchSteps);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }

  // Cuts `text`, well-formed UTF-8, at the matches of `code`; what lies between two matches is a word, too.
  absl::Status Split(const pcre2_code* code, std::string_view text, std::vector<std::string_view>* words) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t begin = 0;
    while (begin < text.size()) {
      const int found = pcre2_match(code, subject, text.size(), begin, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data.get(),
                                    context.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        return absl::ResourceExhaustedError(
            absl::StrFormat("the pre-tokenizer gave up at byte %d of %d (PCRE2 error %d)", begin, text.size(), found));
      }
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
      if (range[0] > begin) words->push_back(text.substr(begin, range[0] - begin));
      words->push_back(text.substr(range[0], range[1] - range[0]));
      begin = range[1];
    }
    if (begin < text.size()) words->push_back(text.substr(begin));
    return absl::OkStatus();
  }
};

}  // namespace

struct PreTokenizer::Patterns {
  std::vector<Code> codes;

  absl::Status Split(Matcher& matcher, std::string_view text, std::vector<std::string_view>* words) const {
    std::vector<std::string_view> pieces = {text};
    for (const Code& code : codes) {
      std::vector<std::string_view> finer;
      finer.reserve(pieces.size());
      for (std::string_view piece : pieces) BARN_RETURN_IF_ERROR(matcher.Split(code.get(), piece, &finer));
      pieces = std::move(finer);
    }
    words->insert(words->end(), pieces.begin(), pieces.end());
    return absl::OkStatus();
  }
};

PreTokenizer::PreTokenizer(std::unique_ptr<Patterns> patterns) : patterns_(std::move(patterns)) {}
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizer::Create(const std::vector<std::string_view>& patterns) {
  auto compiled = std::make_unique<Patterns>();
  for (std::string_view pattern : patterns) {
    BARN_ASSIGN_OR_RETURN(Code code, Compile(pattern));
    compiled->codes.push_back(std::move(code));
  }
  return std::unique_ptr<PreTokenizer>(new PreTokenizer(std::move(compiled)));
}

absl::Status PreTokenizer::Split(std::string_view text, std::vector<std::string_view>* words) const {
  Matcher matcher;
  while (!text.empty()) {
    const size_t good = WellFormedPrefix(text);
    if (good > 0) BARN_RETURN_IF_ERROR(patterns_->Split(matcher, text.substr(0, good), words));
    text.remove_prefix(good);
    if (text.empty()) break;
    words->push_back(text.substr(0, 1));
    text.remove_prefix(1);
  }
  return absl::OkStatus();
}

}  // namespace barn
