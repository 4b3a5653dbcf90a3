#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace barn::grammar {

// What is wrong with a value under a JSON schema, "" if nothing is. Written from the standard (Draft 2020-12) and
// apart from the compiler that it checks; formats are asserted, and patterns go through std::regex.
std::string Invalid(const nlohmann::ordered_json& root, const nlohmann::ordered_json& schema,
                    const nlohmann::ordered_json& value, int depth = 0);

}  // namespace barn::grammar
