#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace barn {

// How a family of byte-level BPE models cuts text into words.
struct PreTokenizerFamily {
  std::vector<std::string_view> names;     // Values of tokenizer.ggml.pre.
  std::vector<std::string_view> patterns;  // Applied one after the other to the pieces of the one before; PCRE2 syntax.
  bool whole_words_first = false;  // A word that is a token stays whole, whatever the merges say (tiktoken's rule).
  bool add_bos = false;            // When the file does not say.
};

const std::vector<PreTokenizerFamily>& PreTokenizerFamilies();

// Null for an unknown name.
const PreTokenizerFamily* FindPreTokenizerFamily(std::string_view name);

// All names, for messages.
std::string PreTokenizerNames();

}  // namespace barn
