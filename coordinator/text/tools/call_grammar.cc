#include "coordinator/http/call_grammar.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace barn {
namespace {

// A GBNF literal.
std::string Literal(const std::string& text) {
  std::string out = "\"";
  for (const char byte : text) {
    if (byte == '"' || byte == '\\') out += '\\';
    if (byte == '\n') {
      out += "\\n";
    } else {
      out += byte;
    }
  }
  return out += '"';
}

class CallGrammarWriter {
 public:
  CallGrammarWriter(const AnswerFormat& format, const Tokenizer& tokenizer, const std::vector<CallableTool>& tools,
                    const CallGrammarOptions& options)
      : format_(format), tokenizer_(tokenizer), tools_(tools), options_(options) {}

  grammar::Source Write() const {
    grammar::Source source;
    std::vector<std::string> calls;
    for (size_t i = 0; i < tools_.size(); ++i) {
      const std::string arguments = absl::StrCat("arguments-", i);
      source.schemas.emplace_back(arguments, tools_[i].schema);
      calls.push_back(Call(tools_[i].name, arguments));
    }
    source.gbnf = absl::StrCat("root ::= ", Reasoning(), " ", Calls(), "\ncall ::= ", absl::StrJoin(calls, " | "), "\n");
    return source;
  }

 private:
  // A marker by its token where no text can give it.
  std::string Marker(const std::string& text) const {
    const std::vector<std::string>& tokens = tokenizer_.vocabulary().tokens;
    const auto found = std::find(tokens.begin(), tokens.end(), text);
    const auto id = static_cast<int32_t>(found - tokens.begin());
    if (found == tokens.end() || !tokenizer_.IsSpecial(id)) return Literal(text);
    return absl::StrCat("<[", id, "]>");
  }

  // Any text without the first two bytes of the marker that ends it.
  static std::string TextBefore(const std::string& end) {
    const auto escaped = [](char byte) { return byte == '[' || byte == ']' || byte == '\\' ? std::string{'\\', byte} : std::string{byte}; };
    return absl::StrCat("([^", escaped(end[0]), "] | ", Literal(end.substr(0, 1)), " [^", escaped(end[1]), "])*");
  }

  std::string Reasoning() const {
    if (format_.family == CallFamily::kHarmony) {
      return absl::StrCat("(", Marker("<|channel|>"), " \"analysis\" ", Marker("<|message|>"), " ", TextBefore("<|end|>"), " ",
                          Marker("<|end|>"), " ", Marker("<|start|>"), " \"assistant\")?");
    }
    if (format_.think_end.empty()) return "";
    const std::string rest = absl::StrCat(TextBefore(format_.think_end), " ", Marker(format_.think_end), " [ \\n]*");
    if (options_.in_reasoning) return rest;
    return absl::StrCat("(", Marker(format_.think_begin), " ", rest, ")?");
  }

  std::string Calls() const {
    const auto listed = [&](const std::string& separator) {
      return options_.several ? absl::StrCat("call (", separator, " call)*") : std::string("call");
    };
    switch (format_.family) {
      case CallFamily::kTagged:
        return listed(Literal("\n"));
      case CallFamily::kMistral:
        if (SplitsArguments()) return options_.several ? "call+" : "call";
        return absl::StrCat(Marker("[TOOL_CALLS]"), " \"[\" ", listed(Literal(", ")), " \"]\"");
      case CallFamily::kDeepSeek:
        return absl::StrCat(Marker("<｜tool▁calls▁begin｜>"), options_.several ? " call+ " : " call ",
                            Marker("<｜tool▁calls▁end｜>"));
      case CallFamily::kKimi:
        return absl::StrCat(Marker("<|tool_calls_section_begin|>"), " call ", Marker("<|tool_calls_section_end|>"));
      case CallFamily::kCommandR:
        return absl::StrCat(Marker("<|START_ACTION|>"), " \"[\" call \"]\" ", Marker("<|END_ACTION|>"));
      case CallFamily::kLlama3:
      case CallFamily::kHarmony:
      case CallFamily::kNone:
        break;
    }
    return "call";
  }

  // Later Mistral models write [TOOL_CALLS]name[ARGS]{...}.
  bool SplitsArguments() const {
    const std::vector<std::string>& tokens = tokenizer_.vocabulary().tokens;
    return std::find(tokens.begin(), tokens.end(), "[ARGS]") != tokens.end();
  }

  std::string Call(const std::string& name, const std::string& arguments) const {
    const auto object = [&](const std::string& before, const char* key) {
      return absl::StrCat(Literal(absl::StrCat("{", before, "\"", name, "\", \"", key, "\": ")), " ", arguments, " \"}\"");
    };
    switch (format_.family) {
      case CallFamily::kTagged:
        return absl::StrCat(Marker("<tool_call>"), " \"\\n\" ", object("\"name\": ", "arguments"), " \"\\n\" ",
                            Marker("</tool_call>"));
      case CallFamily::kLlama3:
        return object("\"name\": ", "parameters");
      case CallFamily::kMistral:
        if (!SplitsArguments()) return object("\"name\": ", "arguments");
        return absl::StrCat(Marker("[TOOL_CALLS]"), " ", Literal(name), " ", Marker("[ARGS]"), " ", arguments);
      case CallFamily::kDeepSeek:
        return absl::StrCat(Marker("<｜tool▁call▁begin｜>"), " ", Literal(name), " ", Marker("<｜tool▁sep｜>"), " ",
                            arguments, " ", Marker("<｜tool▁call▁end｜>"));
      case CallFamily::kKimi:
        return absl::StrCat(Marker("<|tool_call_begin|>"), " ", Literal(absl::StrCat("functions.", name, ":0")), " ",
                            Marker("<|tool_call_argument_begin|>"), " ", arguments, " ", Marker("<|tool_call_end|>"));
      case CallFamily::kCommandR:
        return object("\"tool_call_id\": \"0\", \"tool_name\": ", "parameters");
      case CallFamily::kHarmony:
        return absl::StrCat(Marker("<|channel|>"), " ", Literal(absl::StrCat("commentary to=functions.", name, " ")), " ",
                            Marker("<|constrain|>"), " \"json\" ", Marker("<|message|>"), " ", arguments);
      case CallFamily::kNone:
        break;
    }
    return arguments;
  }

  const AnswerFormat& format_;
  const Tokenizer& tokenizer_;
  const std::vector<CallableTool>& tools_;
  const CallGrammarOptions& options_;
};

}  // namespace

grammar::Source CallGrammar(const AnswerFormat& format, const Tokenizer& tokenizer,
                            const std::vector<CallableTool>& tools, const CallGrammarOptions& options) {
  return CallGrammarWriter(format, tokenizer, tools, options).Write();
}

}  // namespace barn
