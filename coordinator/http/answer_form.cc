#include "coordinator/http/answer_form.h"

#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace barn {
namespace {

bool IsSchema(const nlohmann::json& value) { return value.is_object() || value.is_boolean(); }

bool HasSchema(const nlohmann::json& holder) {
  return holder.is_object() && holder.contains("schema") && IsSchema(holder["schema"]);
}

void ReadResponseFormat(Fields& fields, AnswerForm& form) {
  const nlohmann::json* format = fields.Find("response_format");
  if (format == nullptr) return;
  if (!format->is_object()) return fields.Fail("response_format", "must be an object");
  const nlohmann::json type = format->value("type", nlohmann::json());
  if (type == "text") return;
  form.field = "response_format";
  if (type == "json_object") {
    if (HasSchema(*format)) {
      form.schema_path = {"response_format", "schema"};
    } else {
      form.source = grammar::JsonObjectSource();
    }
  } else if (type == "json_schema") {
    if (!HasSchema(format->value("json_schema", nlohmann::json()))) {
      return fields.Fail("response_format", "of type json_schema needs json_schema: {\"schema\": {...}}");
    }
    form.schema_path = {"response_format", "json_schema", "schema"};
  } else {
    fields.Fail("response_format", "must have the type text, json_object or json_schema");
  }
}

}  // namespace

void ReadAnswerForm(Fields& fields, AnswerForm& form) {
  ReadResponseFormat(fields, form);
  std::string gbnf = fields.String("grammar", "");
  if (gbnf.empty()) return;
  if (!form.field.empty()) return fields.Fail("grammar", "cannot be combined with response_format");
  form.field = "grammar";
  form.source.gbnf = std::move(gbnf);
}

void ReadOllamaFormat(Fields& fields, AnswerForm& form) {
  const nlohmann::json* format = fields.Find("format");
  if (format == nullptr || *format == "") return;
  form.field = "format";
  if (*format == "json") {
    form.source = grammar::JsonObjectSource();
  } else if (format->is_object()) {
    form.schema_path = {"format"};
  } else {
    fields.Fail("format", "must be \"json\" or a JSON schema");
  }
}

std::optional<ApiError> ReadSchema(std::string_view body, AnswerForm& form) {
  if (form.schema_path.empty()) return std::nullopt;
  const auto parsed = nlohmann::ordered_json::parse(body, nullptr, /*allow_exceptions=*/false);
  const nlohmann::ordered_json* schema = &parsed;
  for (const std::string& name : form.schema_path) {
    const auto found = schema->is_object() ? schema->find(name) : schema->end();
    if (found == schema->end()) return FromStatus(absl::InternalError("the schema was in the body a moment ago"));
    schema = &*found;
  }
  form.source = grammar::JsonSchemaSource(schema->dump());
  return std::nullopt;
}

}  // namespace barn
