#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/core.h"
#include "coordinator/scheduler/core_options.h"
#include "coordinator/scheduler/event.h"
#include "coordinator/scheduler/keep_alive.h"
#include "coordinator/scheduler/members.h"

namespace barn {

struct FleetOptions {
  std::string version;  // A worker's Hello must say the same.
  absl::Duration heartbeat = absl::Milliseconds(500);
  absl::Duration lease = absl::Seconds(3);
};

// A model that the fleet may load.
struct FleetModel {
  CoreOptions core;  // in_fleet, deployment and next_epoch are filled in.
  Planner planner;
  bool pinned = false;  // Loaded from the start and never unloaded to make room.
  absl::Duration keep_alive = kKeepAliveDefault;
};

struct ModelAdded {
  int64_t model = 0;  // Never used before, not 0.
  std::shared_ptr<const FleetModel> what;
};

// Its requests end.
struct ModelRemoved {
  int64_t model = 0;
};

// Somebody wants the model and will use it until ModelReleased. The answer is a HoldVerdict: OK when it is loaded.
// Meanwhile it is not unloaded.
struct ModelHeld {
  int64_t hold = 0;  // Never used before.
  int64_t model = 0;
  std::optional<absl::Duration> keep_alive;  // In place of the model's, while it stays loaded. Negative: for ever.
  absl::Duration wait_max = absl::InfiniteDuration();  // For it to be loaded; then DeadlineExceeded.
};

struct ModelReleased {
  int64_t hold = 0;
};

// Unloads it as soon as nobody uses it; a pinned one, too, until somebody wants it again.
struct ModelUnloadAsked {
  int64_t model = 0;
};

struct ModelRequest {
  int64_t model = 0;
  std::variant<RequestSubmitted, RequestCancelled, AdapterAsked, AdapterDropped> request;
};

using FleetEvent = std::variant<WorkerJoined, WorkerSaid, WorkerLost, ShutdownAsked, ModelAdded, ModelRemoved,
                                ModelHeld, ModelReleased, ModelUnloadAsked, ModelRequest>;

// NotFound: no such model. DeadlineExceeded: not loaded within wait_max. Otherwise why it cannot be loaded.
struct HoldVerdict {
  int64_t hold = 0;
  absl::Status status;
};

struct FleetActions {
  Actions actions;
  std::vector<HoldVerdict> holds;
};

// Where one model stands.
struct ModelStanding {
  enum class Phase { kUnloaded, kWaiting, kLoading, kReady, kFailed };
  Phase phase = Phase::kUnloaded;
  bool pinned = false;
  absl::Time expires = absl::InfiniteFuture();  // When it will be unloaded; infinite while it is in use, or for ever.
  int64_t memory_bytes = 0;                     // That its plan takes, of all workers.
  int64_t users = 0;
  EngineState engine;
};

// "unloaded", "waiting", "loading", "loaded" or "failed".
std::string_view PhaseName(ModelStanding::Phase phase);

// Several models on the same workers: a Core for each, and who of them is loaded. A model is loaded when somebody wants
// it, in the order of the wanting. When the memory that the workers offer does not suffice, the longest unused of those
// that are neither pinned nor used make room; where they are in use, nobody new gets them until they are free and gone.
// One that cannot be loaded leaves the others as they are. Deterministic, as Core.
class Fleet {
 public:
  explicit Fleet(FleetOptions options) : options_(std::move(options)) {}
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  FleetActions Step(absl::Time now, std::span<const FleetEvent> events);

  // Null: no such model.
  const Core* Find(int64_t model) const;
  ModelStanding Standing(int64_t model) const;
  std::vector<int64_t> models() const;
  int workers() const { return members_.size(); }

  // What holds after every Step. For tests.
  absl::Status CheckInvariants() const;

 private:
  struct Hold {
    int64_t model = 0;
    std::optional<absl::Duration> keep_alive;
    absl::Time until;  // When it stops waiting.
    bool granted = false;
  };
  struct Model {
    int64_t id = 0;
    std::shared_ptr<const FleetModel> what;
    std::unique_ptr<Core> core;
    std::vector<Event> inbox;   // For the core's next Step.
    bool due = false;           // It has one, or time has passed.
    bool wanted = false;        // Shall be loaded.
    int64_t wanted_order = 0;   // Who wants first is loaded first.
    int64_t used_order = 0;     // The longest unused goes first.
    absl::Duration keep_alive;  // Of the current stay.
    absl::Time expires = absl::InfiniteFuture();
    bool unload_asked = false;
    bool leaving = false;            // For another; nobody new gets it.
    std::vector<int64_t> victims;    // Those that leave for it.
    absl::Status failure;            // Of the last attempt to load it.
    int64_t waiting = 0, users = 0;  // Holds.

    bool idle() const { return users == 0 && core->idle(); }
    // It is being loaded for somebody, who shall have it before it may go.
    bool promised() const { return waiting > 0 && core->running() && !core->ready(); }
    bool in_use() const { return promised() || !idle(); }
  };

  void Handle(const WorkerJoined& event);
  void Handle(const WorkerSaid& event);
  void Handle(const WorkerLost& event) { Drop(event.worker_id, event.reason, nullptr); }
  void Handle(const ShutdownAsked& event);
  void Handle(const ModelAdded& event);
  void Handle(const ModelRemoved& event);
  void Handle(const ModelHeld& event);
  void Handle(const ModelReleased& event);
  void Handle(const ModelUnloadAsked& event);
  void Handle(const ModelRequest& event);

  void Tell(Model& model, Event event);
  // Another set of workers may fit what was refused.
  void MembershipChanged();
  // The worker is no longer a member; every core but `knows` is told.
  void Drop(int64_t worker_id, const std::string& reason, const Model* knows);
  void DropAndDisconnect(int64_t worker_id, const absl::Status& reason);
  void WatchTime();
  void StepDue();
  void StepCore(Model& model);
  void SettleHolds();

  // fleet_room.cc: who is loaded.
  void Want(Model& model);
  void NoLongerWanted(Model& model);
  void Expire();
  void Arrange();
  // One attempt to load it. False: later ones must wait for it.
  bool TryLoad(Model& model);
  // Victims are found and gone: kMade. They are in use: kLater.
  enum class Room { kMade, kLater, kImpossible };
  Room MakeRoom(Model& model);
  std::vector<int64_t> FindVictims(const Model& model) const;
  // Its victims stay.
  void Dismiss(Model& model);
  void Unload(Model& model, const std::string& reason);
  void Fail(Model& model, absl::Status status);
  MemoryByWorker TakenByOthers(const Model& model) const;

  const FleetOptions options_;
  Members members_;
  std::map<int64_t, Model> models_;
  std::map<int64_t, Hold> holds_;
  int64_t last_epoch_ = 0;
  int64_t order_ = 0;
  bool stopped_ = false;
  absl::Time now_ = absl::InfinitePast();
  absl::Time next_tick_ = absl::InfinitePast();
  FleetActions actions_;  // Of the Step that runs.
};

}  // namespace barn
