#include "coordinator/models/model_shelf.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/http/served_adapters.h"
#include "coordinator/models/model_facts.h"
#include "spdlog/spdlog.h"

namespace barn {
namespace {

constexpr absl::Duration kScanEvery = absl::Seconds(1);

bool IsUrl(const std::string& text) { return absl::StrContains(text, "://"); }

}  // namespace

// A model in somebody's hands. `hold` is the cluster's; 0: none.
class ModelShelf::Lease final : public ModelLease {
 public:
  Lease(ClusterEngine& cluster, std::shared_ptr<const Shelved> opened, std::shared_ptr<const ServedModel> served,
        int64_t hold)
      : cluster_(cluster), opened_(std::move(opened)), served_(std::move(served)), hold_(hold) {}
  ~Lease() override {
    if (hold_ != 0) cluster_.Release(hold_);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  const ServedModel& model() const override { return *served_; }
  Engine& engine() const override { return *opened_->engine; }

 private:
  ClusterEngine& cluster_;
  const std::shared_ptr<const Shelved> opened_;
  const std::shared_ptr<const ServedModel> served_;
  const int64_t hold_;
};

// A wish on its way. Who destroys it gives up. Thread-safe.
class ModelShelf::Ticket {
 public:
  Ticket(ClusterEngine& cluster, ModelWish wish, Done done)
      : cluster_(cluster), wish_(std::move(wish)), state_(std::make_shared<State>()) {
    absl::MutexLock lock(&state_->mutex);
    state_->done = std::move(done);
  }
  ~Ticket() {
    int64_t hold = 0;
    {
      absl::MutexLock lock(&state_->mutex);
      if (state_->done == nullptr) return;  // Whatever came of it is in other hands.
      state_->done = nullptr;
      hold = state_->hold;
    }
    if (hold != 0) cluster_.Release(hold);
  }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  const ModelWish& wish() const { return wish_; }

  void Fail(const absl::Status& status) { Settle(*state_, status); }

  // The file has been read; what else is wished is the cluster's to do.
  void Opened(const std::shared_ptr<const Shelved>& opened, const std::shared_ptr<const ServedModel>& served) {
    if (!wish_.load) return Settle(*state_, std::make_shared<const Lease>(cluster_, opened, served, 0));
    const int64_t hold = cluster_.NewHold();
    {
      absl::MutexLock lock(&state_->mutex);
      state_->hold = hold;
    }
    cluster_.Hold(hold, opened->number, wish_.keep_alive, wish_.wait_max,
                  [state = state_, opened, served, hold, &cluster = cluster_](absl::Status status) {
                    if (!status.ok()) return Settle(*state, status);
                    Settle(*state, std::make_shared<const Lease>(cluster, opened, served, hold));
                  });
  }

 private:
  struct State {
    absl::Mutex mutex;
    Done done ABSL_GUARDED_BY(mutex);  // Null: it was called, or nobody wants it any more.
    int64_t hold ABSL_GUARDED_BY(mutex) = 0;
  };

  static void Settle(State& state, absl::StatusOr<std::shared_ptr<const ModelLease>> lease) {
    Done done;
    {
      absl::MutexLock lock(&state.mutex);
      done = std::exchange(state.done, nullptr);
    }
    if (done != nullptr) done(std::move(lease));
  }

  ClusterEngine& cluster_;
  const ModelWish wish_;
  const std::shared_ptr<State> state_;
};

ModelShelf::ModelShelf(ClusterEngine& cluster, ModelNames names, std::string server_version, ReasoningBudget reasoning)
    : cluster_(cluster),
      server_version_(std::move(server_version)),
      reasoning_(std::move(reasoning)),
      names_(std::move(names)) {
  {
    absl::MutexLock lock(&mutex_);
    NoteNew();
    for (const auto& [name, model] : names_.all()) {
      if (model.pinned) WantOpened(name);
    }
  }
  reader_ = std::thread([this] { ReadFiles(); });
}

ModelShelf::~ModelShelf() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  reader_.join();
}

void ModelShelf::Rescan() {
  if (absl::Now() - scanned_ < kScanEvery) return;
  scanned_ = absl::Now();
  for (const std::string& gone : names_.Scan()) Remove(gone);
  NoteNew();
}

void ModelShelf::Remove(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  if (const auto& opened = found->second.opened; opened != nullptr) {
    opened->model.served->adapters->Close();
    cluster_.RemoveModel(opened->number);
  }
  entries_.erase(found);
}

std::string ModelShelf::NameOf(const std::string& asked) const {
  if (std::string name = names_.Find(asked); !name.empty()) return name;
  for (const auto& [name, entry] : entries_) {
    if (entry.opened != nullptr && entry.opened->model.served->adapters->Find(asked).has_value()) return name;
  }
  return "";
}

// Remote ones are looked at when somebody wants them.
void ModelShelf::NoteNew() {
  for (const auto& [name, model] : names_.all()) {
    const bool is_new = entries_.try_emplace(name).second;
    if (is_new && model.second_name_of.empty() && !IsUrl(model.location)) to_describe_.push_back(name);
  }
}

ListedModel ModelShelf::Listed(const std::string& name) {
  const NamedModel& named = names_.all().at(name);
  Entry& root = entries_[names_.Root(name)];
  ListedModel listed{.id = name, .created = named.created, .facts = root.facts, .standing = {}};
  if (listed.facts.size_bytes == 0) listed.facts.size_bytes = named.size_bytes;
  listed.standing.pinned = named.pinned;
  if (root.opened != nullptr) {
    listed.opened = ServedAs(name, root.opened);
    listed.standing = cluster_.Standing(root.opened->number);
  } else if (root.opening) {
    listed.standing.phase = ModelStanding::Phase::kWaiting;
    listed.standing.engine.reason = "reading the model's header";
  } else if (!root.failure.ok()) {
    listed.standing.phase = ModelStanding::Phase::kFailed;
    listed.standing.engine.failed = true;
    listed.standing.engine.reason = std::string(root.failure.message());
  }
  return listed;
}

std::vector<ListedModel> ModelShelf::List() {
  absl::MutexLock lock(&mutex_);
  Rescan();
  std::vector<ListedModel> all;
  for (const auto& [name, model] : names_.all()) all.push_back(Listed(name));
  return all;
}

std::optional<ListedModel> ModelShelf::Find(const std::string& asked) {
  absl::MutexLock lock(&mutex_);
  Rescan();
  const std::string name = NameOf(asked);
  if (name.empty()) return std::nullopt;
  return Listed(name);
}

std::shared_ptr<const ServedModel> ModelShelf::ServedAs(const std::string& name,
                                                        const std::shared_ptr<const Shelved>& opened) {
  struct Named {
    std::shared_ptr<const Shelved> opened;
    ServedModel served;
  };
  Entry& entry = entries_[name];
  if (entry.served == nullptr || &entry.served->tokenizer != opened->model.tokenizer.get()) {
    auto named = std::make_shared<Named>(Named{.opened = opened, .served = *opened->model.served});
    named->served.id = name;
    named->served.aliases = {absl::StrCat(name, ":latest")};
    named->served.created = names_.all().at(name).created;
    entry.served = std::shared_ptr<const ServedModel>(named, &named->served);
  }
  return entry.served;
}

std::shared_ptr<const ModelLease> ModelShelf::Peek(const std::string& asked) {
  absl::MutexLock lock(&mutex_);
  const std::string name = NameOf(asked);
  if (name.empty()) return nullptr;
  const std::shared_ptr<const Shelved> opened = entries_[names_.Root(name)].opened;
  if (opened == nullptr) return nullptr;
  return std::make_shared<const Lease>(cluster_, opened, ServedAs(name, opened), 0);
}

void ModelShelf::WantOpened(const std::string& root) {
  Entry& entry = entries_[root];
  if (std::exchange(entry.opening, true)) return;
  to_open_.push_back(root);
}

std::shared_ptr<void> ModelShelf::Acquire(const ModelWish& wish, Done done) {
  auto ticket = std::make_shared<Ticket>(cluster_, wish, std::move(done));
  absl::Status failure;
  std::shared_ptr<const Shelved> opened;
  std::shared_ptr<const ServedModel> served;
  {
    absl::MutexLock lock(&mutex_);
    if (!wish.from.empty()) failure = names_.Add(wish.name, wish.from, absl::Now());
    if (failure.ok()) Rescan();
    const std::string name = NameOf(wish.name);
    if (failure.ok() && name.empty()) failure = absl::NotFoundError(absl::StrFormat("no model '%s'", wish.name));
    if (failure.ok()) {
      Entry& root = entries_[names_.Root(name)];
      opened = root.opened;
      if (opened != nullptr) {
        served = ServedAs(name, opened);
      } else {
        root.waiting.push_back(ticket);
        WantOpened(names_.Root(name));
      }
    }
  }
  if (!failure.ok()) {
    ticket->Fail(failure);
  } else if (opened != nullptr) {
    ticket->Opened(opened, served);
  }
  return ticket;
}

absl::Status ModelShelf::Unload(const std::string& asked) {
  absl::MutexLock lock(&mutex_);
  const std::string name = names_.Find(asked);
  if (name.empty()) return absl::NotFoundError(absl::StrFormat("model '%s' not found", asked));
  if (const auto& opened = entries_[names_.Root(name)].opened) cluster_.UnloadModel(opened->number);
  return absl::OkStatus();
}

absl::Status ModelShelf::Copy(const std::string& from, const std::string& name) {
  absl::MutexLock lock(&mutex_);
  Rescan();
  if (names_.Find(from).empty()) return absl::NotFoundError(absl::StrFormat("model '%s' not found", from));
  return names_.Add(name, from, absl::Now());
}

absl::Status ModelShelf::Delete(const std::string& asked) {
  absl::MutexLock lock(&mutex_);
  Rescan();
  const std::string name = names_.Find(asked);
  if (absl::Status status = names_.Remove(asked); !status.ok()) return status;
  Remove(name);
  return absl::OkStatus();
}

std::string ModelShelf::NotReady() {
  if (std::string reason = cluster_.WorkersMissing(); !reason.empty()) return reason;
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, model] : names_.all()) {
    if (!model.pinned) continue;
    const ListedModel listed = Listed(name);
    const ModelStanding::Phase phase = listed.standing.phase;
    // One that failed is in the list of models; the others can be served.
    if (phase != ModelStanding::Phase::kReady && phase != ModelStanding::Phase::kFailed) {
      return absl::StrCat(name, ": ", LoadProgressText(listed.standing));
    }
  }
  return "";
}

void ModelShelf::ReadFiles() {
  while (true) {
    std::string root;
    NamedModel what;
    bool open = false;
    {
      absl::MutexLock lock(&mutex_);
      const auto work = [this] {
        mutex_.AssertHeld();
        return stopping_ || !to_open_.empty() || !to_describe_.empty();
      };
      mutex_.Await(absl::Condition(&work));
      if (stopping_) return;
      open = !to_open_.empty();
      std::deque<std::string>& queue = open ? to_open_ : to_describe_;
      root = std::move(queue.front());
      queue.pop_front();
      const auto found = names_.all().find(root);
      if (found != names_.all().end()) what = found->second;
    }
    if (open) {
      OpenModel(root, what);
    } else if (!what.location.empty()) {
      ReadFacts(root, what);
    }
  }
}

void ModelShelf::OpenModel(const std::string& root, const NamedModel& what) {
  auto shelved = std::make_shared<Shelved>();
  absl::Status status;
  absl::StatusOr<OpenedModel> opened = OpenedModel::Open(what.location, root, what.chat_template, server_version_);
  if (opened.ok()) {
    shelved->model = *std::move(opened);
    shelved->model.served->reasoning = reasoning_;
    const ClusterModel model{
        .name = root, .context_tokens = what.context_tokens, .pinned = what.pinned, .keep_alive = what.keep_alive};
    const absl::StatusOr<int64_t> number =
        cluster_.AddModel(model, *shelved->model.file, shelved->model.tokenizer->vocabulary().end_of_generation);
    if (number.ok()) shelved->number = *number;
    status = number.status();
  } else {
    status = opened.status();
  }
  std::vector<std::pair<std::shared_ptr<Ticket>, std::shared_ptr<const ServedModel>>> tickets;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_[root];
    entry.opening = false;
    if (status.ok() && !names_.all().contains(root)) {  // It was deleted meanwhile.
      cluster_.RemoveModel(shelved->number);
      status = absl::NotFoundError("the model was removed");
    }
    entry.failure = status;
    if (status.ok()) {
      shelved->engine = cluster_.EngineOf(shelved->number);
      shelved->model.served->adapters =
          std::make_shared<ServedAdapters>(*shelved->engine, *shelved->model.file, std::vector{root});
      entry.opened = shelved;
      entry.facts = shelved->model.served->facts;
    }
    for (const std::weak_ptr<Ticket>& weak : std::exchange(entry.waiting, {})) {
      const std::shared_ptr<Ticket> ticket = weak.lock();
      if (ticket == nullptr) continue;
      const std::string name = names_.Find(ticket->wish().name);
      tickets.emplace_back(ticket, status.ok() && !name.empty() ? ServedAs(name, shelved) : nullptr);
      // What was just added, and is no model, shall not stay.
      if (!status.ok() && !ticket->wish().from.empty()) names_.Remove(name).IgnoreError();
    }
  }
  if (!status.ok()) spdlog::warn("model {}: {}", root, std::string(status.message()));
  for (const auto& [ticket, served] : tickets) {
    if (served != nullptr) {
      ticket->Opened(shelved, served);
    } else {
      ticket->Fail(status.ok() ? absl::NotFoundError("the model was removed") : status);
    }
  }
}

void ModelShelf::ReadFacts(const std::string& root, const NamedModel& what) {
  const absl::StatusOr<std::unique_ptr<GgufModel>> file = GgufModel::Open(what.location);
  ModelFacts facts;
  if (file.ok()) {
    facts = ReadModelFacts(**file, (*file)->metadata().String("tokenizer.chat_template").value_or(""), server_version_);
  }
  absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(root);
  if (found == entries_.end() || found->second.opened != nullptr) return;
  found->second.facts = std::move(facts);
  found->second.failure = file.status();
}

}  // namespace barn
