#include "coordinator/text/tools/call_grammar.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/text/jinja/code_points.h"

namespace barn {
namespace {

// A character as it stands in a literal or a class of GBNF.
std::string Escaped(uint32_t point) {
  constexpr std::string_view kMarks = "\\\"[]-^";
  std::string out;
  if (point == '\n') return "\\n";
  if (point < 128 && kMarks.find(static_cast<char>(point)) != kMarks.npos) out += '\\';
  jinja::AppendUtf8(point, out);
  return out;
}

std::vector<uint32_t> Points(std::string_view text) {
  std::vector<uint32_t> points;
  for (size_t at = 0; at < text.size();) points.push_back(jinja::NextCodePoint(text, at));
  return points;
}

std::string Literal(std::string_view text) {
  std::string out = "\"";
  for (const uint32_t point : Points(text)) out += Escaped(point);
  return out += '"';
}

// The longest beginning of `marker` that ends the text of its first `matched` characters and `next`.
size_t Matched(const std::vector<uint32_t>& marker, size_t matched, uint32_t next) {
  std::vector<uint32_t> text(marker.begin(), marker.begin() + static_cast<int64_t>(matched));
  text.push_back(next);
  for (size_t length = std::min(text.size(), marker.size()); length > 0; --length) {
    if (std::equal(text.end() - static_cast<int64_t>(length), text.end(), marker.begin())) return length;
  }
  return 0;
}

class CallGrammarWriter {
 public:
  CallGrammarWriter(const AnswerFormat& format, const Tokenizer& tokenizer, const std::vector<CallableTool>& tools,
                    const CallGrammarOptions& options)
      : format_(format), tokenizer_(tokenizer), tools_(tools), options_(options) {}

  grammar::Source Write() {
    std::vector<std::string> calls;
    for (size_t i = 0; i < tools_.size(); ++i) {
      const std::string arguments = absl::StrCat("arguments-", i);
      source_.schemas.emplace_back(arguments, tools_[i].schema);
      calls.push_back(Call(tools_[i].name, arguments));
    }
    if (!calls.empty()) Rule("call", absl::StrJoin(calls, " | "));
    if (options_.answer_schema.has_value()) source_.schemas.emplace_back("answer", *options_.answer_schema);
    if (format_.family == CallFamily::kHarmony) {
      HarmonyRoot();
    } else if (options_.must_call) {
      std::vector<std::string> said;
      if (!tools_.empty()) said.push_back(Calls());
      if (options_.answer_schema.has_value()) said.push_back("answer");
      Rule("calls", absl::StrJoin(said, " | "));
      ForcedRoot();
    } else {
      FreeRoot();
    }
    return std::move(source_);
  }

 private:
  void Rule(std::string_view name, std::string_view body) {
    source_.gbnf.append(name).append(" ::= ").append(body) += '\n';
  }

  // The id of a token that no text gives.
  std::optional<int32_t> ControlToken(std::string_view text) const {
    const std::vector<std::string>& tokens = tokenizer_.vocabulary().tokens;
    const auto found = std::find(tokens.begin(), tokens.end(), text);
    const auto id = static_cast<int32_t>(found - tokens.begin());
    if (found == tokens.end() || !tokenizer_.Piece(id, /*special=*/false).empty()) return std::nullopt;
    return id;
  }

  std::string Marker(std::string_view text) const {
    const std::optional<int32_t> id = ControlToken(text);
    return id.has_value() ? absl::StrCat("<[", *id, "]>") : Literal(text);
  }

  // Defines `name`: any text up to the first `marker`, with it, then `rest`; where `may_end`, also text without it.
  // `tokens` are control tokens that may stand in the text.
  void Until(const std::string& name, std::string_view marker, const std::string& rest, bool may_end = false,
             const std::set<std::string>& tokens = {}) {
    std::string others;
    for (const std::string& token : tokens) absl::StrAppend(&others, " | ", Marker(token));
    const char* or_end = may_end ? " | \"\"" : "";
    if (ControlToken(marker).has_value()) {
      Rule(name, absl::StrCat("(.", others, ")* (", Marker(marker), " ", rest, or_end, ")"));
      return;
    }
    // One rule for each beginning of the marker that the text may end with.
    const std::vector<uint32_t> points = Points(marker);
    const std::set<uint32_t> distinct(points.begin(), points.end());
    const auto state = [&name](size_t matched) { return matched == 0 ? name : absl::StrCat(name, "-", matched); };
    std::string all;
    for (const uint32_t point : distinct) all += Escaped(point);
    for (size_t matched = 0; matched < points.size(); ++matched) {
      std::string body = absl::StrCat("[^", all, "] ", name);
      if (!others.empty()) absl::StrAppend(&body, " | (", others.substr(3), ") ", name);
      for (const uint32_t point : distinct) {
        const size_t next = Matched(points, matched, point);
        absl::StrAppend(&body, " | \"", Escaped(point), "\" ", next == points.size() ? rest : state(next));
      }
      Rule(state(matched), absl::StrCat(body, or_end));
    }
  }

  // Reasoning may come first.
  void ForcedRoot() {
    if (format_.think_end.empty() || !(options_.may_reason || options_.in_reasoning)) return Rule("root", "calls");
    Until("thoughts", format_.think_end, "thought");
    Rule("thought", "[ \\n]{0,4} calls");
    if (options_.in_reasoning) return Rule("root", "thoughts");
    Rule("root", absl::StrCat("calls | ", Marker(format_.think_begin), " thoughts"));
  }

  // Any text, but what begins as a call is one.
  void FreeRoot() {
    std::set<std::string> tokens;
    const CallSyntax& syntax = SyntaxOf(format_.family);
    for (const std::string& hidden : syntax.hidden) tokens.insert(hidden);
    for (const std::string& think : {format_.think_begin, format_.think_end}) {
      if (!think.empty()) tokens.insert(think);
    }
    for (auto it = tokens.begin(); it != tokens.end();) it = ControlToken(*it) ? std::next(it) : tokens.erase(it);
    Until("root", syntax.begin.front(), "rest", true, tokens);
    Rule("rest", absl::StrCat(AfterBegin(), " root"));
  }

  // What follows a call's first marker, up to the end of the call.
  std::string AfterBegin() const {
    if (format_.family == CallFamily::kMistral && !SplitsArguments()) return "\"[\" call (\", \" call)* \"]\"";
    if (format_.family == CallFamily::kCommandR) {
      return absl::StrCat("\"[\" call (\", \" call)* \"]\" ", Marker("<|END_ACTION|>"));
    }
    return "call";
  }

  std::string Calls() const {
    const std::string begin = Marker(SyntaxOf(format_.family).begin.front());
    const std::string call = absl::StrCat(begin, " call");
    const auto listed = [this](const std::string& one, const std::string& between) {
      return options_.several ? absl::StrCat(one, " (", between, " ", one, ")*") : one;
    };
    switch (format_.family) {
      case CallFamily::kTagged:
        return listed(call, Literal("\n"));
      case CallFamily::kLlama3:
        return listed("call", Literal("; "));
      case CallFamily::kMistral:
        if (SplitsArguments()) return listed(call, "");
        return absl::StrCat(begin, " \"[\" ", listed("call", Literal(", ")), " \"]\"");
      case CallFamily::kDeepSeek:
        return absl::StrCat(Marker("<｜tool▁calls▁begin｜>"), " ", listed(call, ""), " ",
                            Marker("<｜tool▁calls▁end｜>"));
      case CallFamily::kKimi:
        return absl::StrCat(Marker("<|tool_calls_section_begin|>"), " ", listed(call, ""), " ",
                            Marker("<|tool_calls_section_end|>"));
      case CallFamily::kCommandR:
        return absl::StrCat(begin, " \"[\" ", listed("call", Literal(", ")), " \"]\" ", Marker("<|END_ACTION|>"));
      case CallFamily::kHarmony:
      case CallFamily::kNone:
        break;
    }
    return "call";
  }

  // Messages on the channels "analysis" and, as a preamble, "commentary"; then a call or, unless forced, the answer.
  void HarmonyRoot() {
    const std::string channel = Marker("<|channel|>"), message = Marker("<|message|>");
    Until("thoughts", "<|end|>", "thought");
    Rule("thought", absl::StrCat(Marker("<|start|>"), " \"assistant\" root"));
    std::string root = absl::StrCat(channel, " (\"analysis\" | \"commentary\") ", message, " thoughts");
    if (!tools_.empty()) absl::StrAppend(&root, " | ", channel, " \"commentary to=functions.\" call");
    const char* answer = options_.answer_schema.has_value() ? "answer" : options_.must_call ? nullptr : ".*";
    if (answer != nullptr) absl::StrAppend(&root, " | ", channel, " \"final\" ", message, " ", answer);
    Rule("root", root);
  }

  // Later Mistral models write [TOOL_CALLS]name[ARGS]{...}.
  bool SplitsArguments() const {
    const std::vector<std::string>& tokens = tokenizer_.vocabulary().tokens;
    return std::find(tokens.begin(), tokens.end(), "[ARGS]") != tokens.end();
  }

  // A call behind its family's first marker. `arguments` is a rule.
  std::string Call(const std::string& name, const std::string& arguments) const {
    const auto object = [&](const char* key, const char* arguments_key) {
      const std::string quoted = nlohmann::json(name).dump();
      return absl::StrCat(Literal(absl::StrCat("{\"", key, "\": ", quoted, ", \"", arguments_key, "\": ")), " ",
                          arguments, " \"}\"");
    };
    switch (format_.family) {
      case CallFamily::kTagged:
        return absl::StrCat("\"\\n\" ", object("name", "arguments"), " \"\\n\" ", Marker("</tool_call>"));
      case CallFamily::kLlama3:
        return object("name", "parameters");
      case CallFamily::kMistral:
        if (!SplitsArguments()) return object("name", "arguments");
        return absl::StrCat(Literal(name), " ", Marker("[ARGS]"), " ", arguments);
      case CallFamily::kDeepSeek:
        return absl::StrCat(Literal(name), " ", Marker("<｜tool▁sep｜>"), " ", arguments, " ",
                            Marker("<｜tool▁call▁end｜>"));
      case CallFamily::kKimi:
        return absl::StrCat(Literal(absl::StrCat("functions.", name, ":")), " [0-9] ",
                            Marker("<|tool_call_argument_begin|>"), " ", arguments, " ", Marker("<|tool_call_end|>"));
      case CallFamily::kCommandR:
        return object("tool_name", "parameters");
      case CallFamily::kHarmony:
        return absl::StrCat(Literal(name + " "), " ", Marker("<|constrain|>"), " \"json\" ", Marker("<|message|>"), " ",
                            arguments);
      case CallFamily::kNone:
        break;
    }
    return arguments;
  }

  const AnswerFormat& format_;
  const Tokenizer& tokenizer_;
  const std::vector<CallableTool>& tools_;
  const CallGrammarOptions& options_;
  grammar::Source source_;
};

}  // namespace

std::optional<grammar::Source> CallGrammar(const AnswerFormat& format, const Tokenizer& tokenizer,
                                           const std::vector<CallableTool>& tools, const CallGrammarOptions& options) {
  if (tools.empty() && !(options.must_call && options.answer_schema.has_value())) return std::nullopt;
  if (!tools.empty() && format.family == CallFamily::kNone) return std::nullopt;
  if (format.family == CallFamily::kLlama3 && !options.must_call) return std::nullopt;
  return CallGrammarWriter(format, tokenizer, tools, options).Write();
}

}  // namespace barn
