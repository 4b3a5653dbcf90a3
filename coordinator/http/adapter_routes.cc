#include "coordinator/http/adapter_routes.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/adapter_fields.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/served_adapters.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr absl::Duration kLoadTimeout = absl::Minutes(5);

// Where nobody needs a key, a page in a browser of this machine could still post here.
std::optional<ApiError> CheckAdmin(const HttpRequest& request) {
  const bool page = request.account == nullptr && !request.origin.empty();
  if (!page && (request.account == nullptr || request.account->role == Role::kAdmin)) return std::nullopt;
  ApiError error;
  error.status = 403;
  error.type = "permission_error";
  error.message = page ? "pages of a browser may not change adapters without an admin's key"
                       : "only keys of the role admin may change adapters";
  return error;
}

ApiError FromAdapterStatus(const absl::Status& status, absl::string_view param) {
  if (absl::IsNotFound(status) || absl::IsAlreadyExists(status)) {
    ApiError error = BadParam(param, status.message());
    error.status = absl::IsNotFound(status) ? 404 : 400;
    return error;
  }
  // What a file holds, or that it is of a kind that this build does not run, is the request's fault.
  if (absl::IsInvalidArgument(status) || absl::IsUnimplemented(status) || absl::IsDataLoss(status)) {
    return BadParam("lora_path", status.message());
  }
  return FromStatus(status);
}

struct LoraFields {
  std::string name;
  std::string path;
  double scale = 1;
};

std::optional<ApiError> ReadLoad(const Json& body, LoraFields& out) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  out.name = fields.String("lora_name", "");
  out.path = fields.String("lora_path", "");
  out.scale = fields.Number("scale", 1, -kLoraScaleMax, kLoraScaleMax);
  if (fields.ok() && out.name.empty()) fields.Fail("lora_name", "is required");
  if (fields.ok() && out.path.empty()) fields.Fail("lora_path", "is required");
  return fields.error();
}

std::optional<ApiError> ReadUnload(const Json& body, LoraFields& out) {
  if (!body.is_object()) return NotAnObject(body);
  Fields fields(body);
  out.name = fields.String("lora_name", "");
  if (fields.ok() && out.name.empty()) fields.Fail("lora_name", "is required");
  return fields.error();
}

std::optional<ApiError> ReadScales(const Json& body, std::map<int64_t, float>& scales) {
  Json wrapped = Json::object();
  wrapped["lora"] = body;
  Fields fields(wrapped);
  if (const auto lora = ReadLora(fields); lora.has_value()) scales = *lora;
  return fields.error();
}

RouteResult Text(std::string text) {
  HttpReply reply;
  reply.content_type = "text/plain; charset=utf-8";
  reply.body = std::move(text);
  return reply;
}

RouteResult NoAdapters() {
  ApiError error;
  error.status = 404;
  error.message = "this server takes no adapters";
  return error;
}

}  // namespace

RouteResult LoadLoraAdapter(const ApiContext& context, const HttpRequest& request) {
  if (auto error = CheckAdmin(request)) return *error;
  if (context.model.adapters == nullptr) return NoAdapters();
  LoraFields fields;
  if (auto error = ReadBody(request, fields, &ReadLoad)) return *error;
  ServedAdapters& adapters = *context.model.adapters;
  absl::Status status = adapters.Begin(fields.name, fields.path, static_cast<float>(fields.scale), absl::Now());
  if (!status.ok()) return FromAdapterStatus(status, absl::IsAlreadyExists(status) ? "lora_name" : "lora_path");
  status = adapters.Wait(fields.name, kLoadTimeout);
  if (absl::IsDeadlineExceeded(status)) adapters.Unload(fields.name).IgnoreError();
  if (!status.ok()) return FromAdapterStatus(status, "lora_path");
  return Text(absl::StrCat("Success: LoRA adapter '", fields.name, "' added successfully."));
}

RouteResult UnloadLoraAdapter(const ApiContext& context, const HttpRequest& request) {
  if (auto error = CheckAdmin(request)) return *error;
  if (context.model.adapters == nullptr) return NoAdapters();
  LoraFields fields;
  if (auto error = ReadBody(request, fields, &ReadUnload)) return *error;
  if (const absl::Status status = context.model.adapters->Unload(fields.name); !status.ok()) {
    return FromAdapterStatus(status, "lora_name");
  }
  return Text(absl::StrCat("Success: LoRA adapter '", fields.name, "' removed successfully."));
}

RouteResult LoraAdapters(const ApiContext& context, const HttpRequest&) {
  Json list = Json::array();
  if (context.model.adapters != nullptr) {
    for (const ServedAdapter& adapter : context.model.adapters->List()) {
      list.push_back({{"id", adapter.number},
                      {"name", adapter.name},
                      {"path", adapter.reference},
                      {"scale", adapter.always},
                      {"ready", adapter.ready}});
    }
  }
  return JsonReply(list);
}

RouteResult SetLoraAdapters(const ApiContext& context, const HttpRequest& request) {
  if (auto error = CheckAdmin(request)) return *error;
  if (context.model.adapters == nullptr) return NoAdapters();
  std::map<int64_t, float> scales;
  if (auto error = ReadBody(request, scales, &ReadScales)) return *error;
  if (const absl::Status status = context.model.adapters->SetAlways(scales); !status.ok()) {
    return FromAdapterStatus(status, "id");
  }
  return JsonReply({{"success", true}});
}

}  // namespace barn
