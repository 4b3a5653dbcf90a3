#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"
#include "coordinator/scheduler/fleet.h"

namespace barn {

// One of the models that a server offers.
struct ListedModel {
  std::string id;
  int64_t created = 0;                                  // Unix time, seconds.
  ModelFacts facts;                                     // As far as they are known.
  std::shared_ptr<const ServedModel> opened = nullptr;  // Null: its file has not been read yet.
  ModelStanding standing;
};

// A model in somebody's hands: it stays opened and, where it was wanted so, loaded, until this goes away.
class ModelLease {
 public:
  virtual ~ModelLease() = default;
  virtual const ServedModel& model() const = 0;
  virtual Engine& engine() const = 0;
};

// How long a request waits for its model to be loaded, unless it says otherwise.
inline constexpr absl::Duration kLoadWaitMax = absl::Minutes(5);

// What a request wants of its model.
struct ModelWish {
  std::string name;
  std::string from = {};  // Not "": `name` is new, for the model that has this name, or for this file or URL.
  bool load = true;       // Else it is enough to have read its file's header.
  bool look = true;       // While it waits, the request may be handled once to see whether it makes sense.
  bool unload = false;    // It shall not stay loaded.
  std::optional<absl::Duration> keep_alive = std::nullopt;  // See ModelHeld.
  absl::Duration wait_max = kLoadWaitMax;
};

// The models of a server that offers several, or that clients may add to. Thread-safe; nothing here blocks for long.
class ModelDirectory {
 public:
  using Done = std::function<void(absl::StatusOr<std::shared_ptr<const ModelLease>>)>;

  virtual ~ModelDirectory() = default;

  // By name.
  virtual std::vector<ListedModel> List() = 0;
  virtual std::optional<ListedModel> Find(const std::string& name) = 0;
  // A model whose file has been read, loaded or not; null: there is none. Keeps nothing loaded.
  virtual std::shared_ptr<const ModelLease> Peek(const std::string& name) = 0;

  // Reads the model's file and loads it, as far as wished; calls `done` once, from any thread, perhaps before this
  // returns. Whoever lets go of what is returned before that gives the wish up. NotFound: no such model.
  // AlreadyExists, PermissionDenied: the new name, or where it comes from. Otherwise why it cannot be loaded.
  virtual std::shared_ptr<void> Acquire(const ModelWish& wish, Done done) = 0;

  // As soon as nobody uses it. NotFound.
  virtual absl::Status Unload(const std::string& name) = 0;
  // A second name. NotFound, AlreadyExists.
  virtual absl::Status Copy(const std::string& from, const std::string& name) = 0;
  // The name, and the file if it lies in the server's folder of models. NotFound. PermissionDenied: the model was given
  // at the start.
  virtual absl::Status Delete(const std::string& name) = 0;

  // Why no request can be served now; "" when one can.
  virtual std::string NotReady() = 0;
  virtual const std::string& server_version() const = 0;
};

// "loading 42%", or what else a model waits for.
std::string LoadProgressText(const ModelStanding& standing);

}  // namespace barn
