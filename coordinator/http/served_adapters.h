#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/adapter_host.h"
#include "coordinator/scheduler/request.h"
#include "sharding/gguf.h"

namespace barn {

// An adapter as clients see it.
struct ServedAdapter {
  int64_t number = 0;     // What llama-server's routes call its id: 0, 1, 2, ... in the order of loading.
  std::string name;       // What `model` of a request calls it.
  std::string reference;  // As it was given: path or URL.
  float scale = 1;        // For requests that name it.
  float always = 0;       // For requests that name no adapter; 0: not used then.
  int64_t created = 0;    // Unix time, seconds.
  int64_t parameters = 0;
  int64_t id = 0;  // As the cluster knows it.
  bool ready = false;
};

// Adapters of one served model by name. Thread-safe.
class ServedAdapters {
 public:
  // `host` outlives this and must not call back after it is told to end; `model` is the base's header.
  ServedAdapters(AdapterHost& host, const GgufModel& model, std::vector<std::string> model_names);
  ~ServedAdapters();

  // Reads the adapter's header, checks it against the model and asks the workers for it. InvalidArgument: what is wrong
  // with the file. AlreadyExists: the name is taken.
  absl::Status Begin(const std::string& name, const std::string& reference, float scale, absl::Time now);
  // Waits until the workers have what Begin asked for. Their error, after which the name is free again;
  // DeadlineExceeded; Cancelled: Close().
  absl::Status Wait(const std::string& name, absl::Duration timeout);
  // NotFound. Requests that run keep it.
  absl::Status Unload(absl::string_view name);
  // Scales for requests that name no adapter, by number; all others get 0. NotFound: a number that is none.
  absl::Status SetAlways(const std::map<int64_t, float>& scales);
  // Nobody waits any more.
  void Close();

  std::vector<ServedAdapter> List() const;  // By number.
  std::optional<ServedAdapter> Find(absl::string_view name) const;
  std::optional<ServedAdapter> FindNumber(int64_t number) const;
  // What a request passes through that calls the model `name` and asks for nothing else.
  std::vector<AdapterUse> UsesOf(absl::string_view name) const;
  // The name of the only one of `uses`; empty: there are none or several.
  std::string NameOf(const std::vector<AdapterUse>& uses) const;

 private:
  struct State;  // Shared with the host's callbacks, which may come late.

  AdapterHost& host_;
  const GgufModel& model_;
  const std::vector<std::string> model_names_;
  const std::shared_ptr<State> state_;
};

}  // namespace barn
