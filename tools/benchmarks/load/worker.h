// What carries out operations, one at a time: a held stream, or a caller of unary calls.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "options.h"

namespace bench {

// What waits in the completion queue.
class Tag {
 public:
  explicit Tag(std::function<void(bool)> then) : then_(std::move(then)) {}
  void Proceed(bool good) const { then_(good); }

 private:
  std::function<void(bool)> then_;
};

// Who has workers, and hears of them.
class Host {
 public:
  virtual ~Host() = default;
  virtual void Opened() = 0;
  virtual void Done(class Worker* worker) = 0;
  // The worker can do no more; why is for people.
  virtual void Failed(class Worker* worker, const std::string& why) = 0;
};

class Worker {
 public:
  virtual ~Worker() = default;
  // Get ready for operations; ends in Host::Opened or Host::Failed.
  virtual void Open() = 0;
  // Start one operation; ends in Host::Done or Host::Failed.
  virtual void Begin() = 0;

  double begun = 0;  // of the operation under way: seconds, monotonic
  double ended = 0;  // when what it measures had come about; 0: when it is done
};

// What a worker works with; outlives it.
struct Surroundings {
  const Options& options;
  std::shared_ptr<grpc::Channel> channel;
  grpc::CompletionQueue* queue;
  Host* host;
};

// A new worker for options.work, nullptr when there is no such work.
std::unique_ptr<Worker> MakeWorker(const Surroundings& surroundings, int number);

// Seconds, monotonic.
double Now();

// Of a worker's requests for seats: a few kinds of urgency.
inline int Priority(int number) { return number % 3; }

// Sets what every call of ours carries.
void Authorize(grpc::ClientContext* context, const Options& options);

}  // namespace bench
