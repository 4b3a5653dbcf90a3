// Who of a fleet's models is loaded.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/scheduler/fleet.h"

namespace barn {

void Fleet::Want(Model& model) {
  if (model.wanted) return;
  model.wanted = true;
  model.wanted_order = ++order_;
  model.failure = absl::OkStatus();
  if (!model.core->running()) model.keep_alive = model.what->keep_alive;
}

// Nobody waits for it any more: one that is not loaded yet need not be.
void Fleet::NoLongerWanted(Model& model) {
  if (model.waiting > 0 || model.users > 0 || model.core->running() || model.what->pinned) return;
  if (!model.core->idle()) return;  // Requests that wait for lost workers.
  model.wanted = false;
  Dismiss(model);
}

void Fleet::Dismiss(Model& model) {
  for (const int64_t id : std::exchange(model.victims, {})) {
    if (const auto victim = models_.find(id); victim != models_.end()) victim->second.leaving = false;
  }
}

// Unloads what nobody has used for long enough.
void Fleet::Expire() {
  for (auto& [id, model] : models_) {
    if (!model.core->running() || model.waiting > 0 || !model.idle()) continue;
    const bool unused = !model.what->pinned && now_ >= model.expires;
    if (unused || model.unload_asked) Unload(model, "nobody used the model");
  }
}

MemoryByWorker Fleet::TakenByOthers(const Model& model) const {
  MemoryByWorker taken;
  for (const auto& [id, other] : models_) {
    if (id == model.id) continue;
    for (const auto& [worker, bytes] : other.core->MemoryUse()) taken[worker] += bytes;
  }
  return taken;
}

void Fleet::Arrange() {
  std::vector<Model*> waiting;
  for (auto& [id, model] : models_) {
    if (model.wanted && !model.core->running() && model.failure.ok()) waiting.push_back(&model);
  }
  std::sort(waiting.begin(), waiting.end(),
            [](const Model* a, const Model* b) { return a->wanted_order < b->wanted_order; });
  for (Model* model : waiting) {
    if (!TryLoad(*model)) return;
  }
}

bool Fleet::TryLoad(Model& model) {
  while (!stopped_) {
    model.core->SetMemoryTaken(TakenByOthers(model));
    model.core->SetWanted(true);
    StepCore(model);
    model.core->SetWanted(false);  // Memory is given out here only, one model after the other.
    if (model.core->running()) {
      Dismiss(model);
      model.expires = model.keep_alive < absl::ZeroDuration() ? absl::InfiniteFuture() : now_ + model.keep_alive;
      return true;
    }
    const absl::Status refusal = model.core->refusal();
    if (refusal.ok()) return true;  // It waits for workers, or for the time to try again.
    const Room room = absl::IsResourceExhausted(refusal) ? MakeRoom(model) : Room::kImpossible;
    if (room == Room::kLater) return false;
    if (room == Room::kImpossible) {
      Fail(model, refusal);
      return true;
    }
  }
  return true;
}

// The fewest that are unused the longest; those in use only when the others do not suffice.
std::vector<int64_t> Fleet::FindVictims(const Model& model) const {
  std::vector<const Model*> candidates;
  for (const auto& [id, other] : models_) {
    if (id != model.id && other.core->running() && !other.what->pinned) candidates.push_back(&other);
  }
  std::sort(candidates.begin(), candidates.end(), [](const Model* a, const Model* b) {
    return std::pair(a->in_use(), a->used_order) < std::pair(b->in_use(), b->used_order);
  });
  MemoryByWorker taken = TakenByOthers(model);
  const auto give = [&taken](const Model& other) {
    for (const auto& [worker, bytes] : other.core->MemoryUse()) taken[worker] -= bytes;
  };
  std::vector<const Model*> victims;
  for (const Model* candidate : candidates) {
    victims.push_back(candidate);
    give(*candidate);
    if (model.core->Fits(taken).ok()) break;
  }
  if (victims.empty() || !model.core->Fits(taken).ok()) return {};
  for (size_t i = 0; i + 1 < victims.size();) {
    const MemoryByWorker without = taken;
    for (const auto& [worker, bytes] : victims[i]->core->MemoryUse()) taken[worker] += bytes;
    if (model.core->Fits(taken).ok()) {
      victims.erase(victims.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      taken = without;
      ++i;
    }
  }
  std::vector<int64_t> ids;
  for (const Model* victim : victims) ids.push_back(victim->id);
  return ids;
}

Fleet::Room Fleet::MakeRoom(Model& model) {
  const auto stays = [this](int64_t id) {
    const auto found = models_.find(id);
    return found != models_.end() && found->second.core->running();
  };
  // Chosen once: looking for others at every step would cost plans, and might never settle.
  std::erase_if(model.victims, [&](int64_t id) { return !stays(id); });
  if (model.victims.empty()) model.victims = FindVictims(model);
  if (model.victims.empty()) return Room::kImpossible;
  bool free = true;
  for (const int64_t id : model.victims) {
    Model& victim = models_.at(id);
    victim.leaving = !victim.promised();
    free = free && !victim.in_use();
  }
  if (!free) return Room::kLater;
  for (const int64_t id : std::exchange(model.victims, {})) Unload(models_.at(id), "another model needs its memory");
  return Room::kMade;
}

void Fleet::Unload(Model& model, const std::string& reason) {
  model.core->Unload(absl::UnavailableError(absl::StrCat("the request was cut off: ", reason)));
  StepCore(model);
  model.leaving = model.unload_asked = false;
  model.expires = absl::InfiniteFuture();
  model.keep_alive = model.what->keep_alive;
  model.wanted = false;
  if (model.waiting > 0) Want(model);
}

// Who waits for it hears why; the next who wants it tries again.
void Fleet::Fail(Model& model, absl::Status status) {
  for (auto hold = holds_.begin(); hold != holds_.end();) {
    if (hold->second.model != model.id || hold->second.granted) {
      ++hold;
      continue;
    }
    actions_.holds.push_back({hold->first, status});
    hold = holds_.erase(hold);
    --model.waiting;
  }
  Dismiss(model);
  // A pinned one waits for other workers, with the requests that a loss has left it.
  if (!model.what->pinned && !stopped_) {
    model.core->Unload(absl::UnavailableError(absl::StrCat("the request was cut off: ", status.message())));
    StepCore(model);
  }
  model.failure = std::move(status);
  model.wanted = false;
}

}  // namespace barn
