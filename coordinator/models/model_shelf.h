#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/cluster/cluster_engine.h"
#include "coordinator/http/model_directory.h"
#include "coordinator/models/model_names.h"
#include "coordinator/models/opened_model.h"

namespace barn {

// The models that a cluster offers by name. Files are read by a thread of its own when somebody wants them first; the
// cluster's fleet decides what is loaded.
class ModelShelf final : public ModelDirectory {
 public:
  // `cluster` outlives it, and everything that it gives out.
  ModelShelf(ClusterEngine& cluster, ModelNames names, std::string server_version, ReasoningBudget reasoning);
  ~ModelShelf() override;

  std::vector<ListedModel> List() override;
  std::optional<ListedModel> Find(const std::string& name) override;
  std::shared_ptr<const ModelLease> Peek(const std::string& name) override;
  std::shared_ptr<void> Acquire(const ModelWish& wish, Done done) override;
  absl::Status Unload(const std::string& name) override;
  absl::Status Copy(const std::string& from, const std::string& name) override;
  absl::Status Delete(const std::string& name) override;
  std::string NotReady() override;
  const std::string& server_version() const override { return server_version_; }

 private:
  // A model whose file has been read, and what the cluster knows of it.
  struct Shelved {
    OpenedModel model;
    std::unique_ptr<ModelEngine> engine;
    int64_t number = 0;  // Of the cluster.
  };
  class Lease;
  class Ticket;
  struct Entry {
    std::shared_ptr<const Shelved> opened;      // Of a root; null: not read yet.
    std::shared_ptr<const ServedModel> served;  // Under the entry's own name; keeps what it borrows from.
    ModelFacts facts;                           // Without a digest: not read yet.
    bool opening = false;
    absl::Status failure;  // Of the last attempt to read it.
    std::vector<std::weak_ptr<Ticket>> waiting;
  };

  // As listed, also of the model that an adapter belongs to; "": there is none.
  std::string NameOf(const std::string& asked) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteNew() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rescan() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ListedModel Listed(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<const ServedModel> ServedAs(const std::string& name, const std::shared_ptr<const Shelved>& opened)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WantOpened(const std::string& root) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The thread that reads files.
  void ReadFiles();
  void OpenModel(const std::string& root, const NamedModel& what);
  void ReadFacts(const std::string& root, const NamedModel& what);

  ClusterEngine& cluster_;
  const std::string server_version_;
  const ReasoningBudget reasoning_;
  mutable absl::Mutex mutex_;
  ModelNames names_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // By name; second names have `served` only.
  std::deque<std::string> to_open_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> to_describe_ ABSL_GUARDED_BY(mutex_);
  absl::Time scanned_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread reader_;
};

}  // namespace barn
