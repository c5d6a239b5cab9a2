// Load for tools/bench: one thread and one completion queue that keep many streams or callers busy.
//
// Opens its workers, prints `ready`, then obeys lines on standard input; end of input or `quit` ends it.
// Everything printed is one JSON object a line.
//   run WARM SECONDS        works for WARM and then SECONDS seconds, prints `recording` in between and a
//                           `result` at the end. Closed loop: a worker that has its answer goes to the end of
//                           the line, and `--outstanding` operations are under way at once.
//   pace WARM SECONDS RATE  the same as an open loop: RATE operations a second become due, evenly, whatever
//                           the server does, and the latency of each counts from the moment it was due.
//   open COUNT              opens more workers, until COUNT of all are open, and prints `ready` again.
//
// Promises: an answer that is wrong, denied or missing is an error of the result; nobody is asked twice.
// Leaves to others: CPU and memory of anyone, and what the numbers mean (loads.py).

#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <deque>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cloud_caller.h"
#include "echo_stream.h"
#include "etcd_worker.h"
#include "options.h"
#include "queue_stream.h"
#include "session_stream.h"
#include "unary_caller.h"
#include "worker.h"

namespace bench {
namespace {

constexpr double kOpenSeconds = 400;    // for all workers together
constexpr double kAnswerSeconds = 20;   // for the last answers of a run
constexpr int kOpeningAtOnce = 64;      // so that opening is no burst that a server would refuse
constexpr double kBucketWidth = 1.02;   // latencies are counted in buckets 2 % wide; loads.py has the same
constexpr double kTick = 0.05;          // how often standard input is looked at while nothing happens
constexpr double kCoarse = 0.0015;      // what the completion queue may wait too long

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  return quoted + "\"";
}

void Say(const std::string& json) {
  std::printf("%s\n", json.c_str());
  std::fflush(stdout);
}

class Load final : public Host {
 public:
  explicit Load(const Options& options) : options_(options) {
    for (int i = 0; i < options.connections; ++i) channels_.push_back(NewChannel(i));
    for (int i = 0; i < options.workers; ++i) {
      const Surroundings surroundings{options_, channels_[i % channels_.size()], &queue_, this};
      workers_.push_back(MakeWorker(surroundings, i));
      if (!workers_.back()) {
        std::fprintf(stderr, "load: there is no work %s.\n", options.work.c_str());
        std::exit(2);
      }
    }
  }

  // Opens workers until so many are open; false when one failed or the time ran out.
  bool OpenUntil(size_t count) {
    const double begun = Now();
    const size_t had = opened_;
    size_t next = had;
    while (opened_ < count && errors_ == 0 && Now() < begun + kOpenSeconds) {
      while (next < count && next - opened_ < kOpeningAtOnce) workers_[next++]->Open();
      Turn(kTick);
    }
    for (size_t i = had; i < opened_; ++i) idle_.push_back(workers_[i].get());
    std::ostringstream line;
    line << "{\"event\":\"ready\",\"workers\":" << opened_ << ",\"connections\":" << channels_.size()
         << ",\"seconds\":" << Now() - begun << ",\"errors\":" << errors_
         << ",\"first_error\":" << Quoted(first_error_) << "}";
    Say(line.str());
    return opened_ == count && errors_ == 0;
  }

  void Obey() {
    std::string line;
    while (true) {
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (poll(&input, 1, 0) > 0) {
        if (!std::getline(std::cin, line) || !ObeyLine(line)) return;
      }
      Turn(kTick);  // connections stay alive only while someone looks after their queue
    }
  }

  void Opened() override { ++opened_; }

  void Done(Worker* worker) override {
    const double now = Now();
    --outstanding_;
    // A closed loop counts what ends in time; an open one what became due in time, whenever it ends.
    const double counts = paced_ ? worker->begun : now;
    if (counts >= from_ && counts <= until_) {
      ++operations_;
      ++buckets_[Bucket((worker->ended > 0 ? worker->ended : now) - worker->begun)];
    }
    idle_.push_back(worker);
    if (paced_) {
      BeginDue();
    } else if (running_) {
      BeginNext(now);
    }
  }

  void Failed(Worker* worker, const std::string& why) override {
    if (worker->begun > 0) --outstanding_;
    if (errors_++ == 0) first_error_ = why;
  }

 private:
  std::shared_ptr<grpc::Channel> NewChannel(int number) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt("keypeg.bench.number", number);  // so that no two channels share a connection
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = options_.ca;
    return grpc::CreateCustomChannel(options_.target, grpc::SslCredentials(tls), arguments);
  }

  static int Bucket(double seconds) {
    static const double kInverse = 1 / std::log(kBucketWidth);
    return static_cast<int>(std::log(std::max(seconds * 1e6, 1.0)) * kInverse);
  }

  // Waits for one event, and handles it.
  void Turn(double seconds) {
    void* tag = nullptr;
    bool good = false;
    const auto until = std::chrono::system_clock::now() +
                       std::chrono::microseconds(static_cast<int64_t>(std::max(seconds, 0.0) * 1e6));
    if (queue_.AsyncNext(&tag, &good, until) == grpc::CompletionQueue::GOT_EVENT) {
      static_cast<Tag*>(tag)->Proceed(good);
    }
  }

  // Whether the line was a command that can be obeyed.
  bool ObeyLine(const std::string& line) {
    double warm = 0;
    double seconds = 0;
    double rate = 0;
    size_t count = 0;
    if (std::sscanf(line.c_str(), "run %lf %lf", &warm, &seconds) == 2) {
      Run(warm, seconds);
    } else if (std::sscanf(line.c_str(), "pace %lf %lf %lf", &warm, &seconds, &rate) == 3 && rate > 0) {
      Pace(warm, seconds, rate);
    } else if (std::sscanf(line.c_str(), "open %zu", &count) == 1) {
      return OpenUntil(std::min(count, workers_.size()));
    } else {
      return false;
    }
    return true;
  }

  void BeginNext(double due) {
    if (idle_.empty()) return;
    Worker* worker = idle_.front();
    idle_.pop_front();
    ++outstanding_;
    worker->begun = due;
    worker->ended = 0;
    worker->Begin();
  }

  // Starts what is due, as long as there is a worker for it; the rest is late by the server's fault.
  void BeginDue() {
    while (next_due_ <= Now() && next_due_ <= until_ && !idle_.empty()) {
      const double due = next_due_;
      next_due_ += gap_;
      BeginNext(due);
    }
  }

  void TurnUntil(double moment) {
    for (double now = Now(); now < moment && errors_ == 0; now = Now()) {
      double wait = std::min(moment - now, kTick);
      if (paced_) {
        BeginDue();
        // The queue waits in whole milliseconds: what is due sooner is waited for without sleeping.
        wait = std::min(wait, next_due_ - Now() - kCoarse);
      }
      Turn(wait);
    }
  }

  void Run(double warm, double seconds) {
    paced_ = false;
    Work(warm, seconds);
  }

  void Pace(double warm, double seconds, double rate) {
    paced_ = true;
    gap_ = 1 / rate;
    next_due_ = Now();
    Work(warm, seconds);
  }

  void Work(double warm, double seconds) {
    operations_ = 0;
    buckets_.clear();
    from_ = until_ = std::numeric_limits<double>::infinity();
    running_ = true;
    for (int i = 0; !paced_ && i < options_.outstanding; ++i) BeginNext(Now());
    TurnUntil(Now() + warm);
    Say("{\"event\":\"recording\"}");
    from_ = Now();
    until_ = from_ + seconds;
    TurnUntil(until_);
    running_ = false;
    const double took = Now() - from_;
    Say("{\"event\":\"recorded\"}");
    const double last = Now() + kAnswerSeconds;
    while ((outstanding_ > 0 || LateOnes()) && errors_ == 0 && Now() < last) {
      if (paced_) BeginDue();
      Turn(kTick);
    }
    if ((outstanding_ > 0 || LateOnes()) && errors_++ == 0) first_error_ = "answers are missing";
    SayResult(took);
  }

  bool LateOnes() const { return paced_ && next_due_ <= until_; }

  void SayResult(double seconds) const {
    std::ostringstream line;
    line << "{\"event\":\"result\",\"operations\":" << operations_ << ",\"seconds\":" << seconds
         << ",\"errors\":" << errors_ << ",\"first_error\":" << Quoted(first_error_) << ",\"latencies\":[";
    const char* comma = "";
    for (const auto& [bucket, count] : buckets_) {
      line << comma << "[" << bucket << "," << count << "]";
      comma = ",";
    }
    line << "]}";
    Say(line.str());
  }

  const Options options_;
  grpc::CompletionQueue queue_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::deque<Worker*> idle_;
  size_t opened_ = 0;
  int outstanding_ = 0;
  bool running_ = false;
  double from_ = 0;  // of what is counted
  double until_ = 0;
  bool paced_ = false;
  double gap_ = 0;       // seconds between operations of an open loop
  double next_due_ = 0;  // the next of them
  uint64_t operations_ = 0;
  std::map<int, uint64_t> buckets_;
  uint64_t errors_ = 0;
  std::string first_error_;
};

}  // namespace

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void Authorize(grpc::ClientContext* context, const Options& options) {
  if (!options.token.empty()) context->AddMetadata("authorization", "Bearer " + options.token);
}

std::unique_ptr<Worker> MakeWorker(const Surroundings& surroundings, int number) {
  const std::string& work = surroundings.options.work;
  if (work == "renew") return MakeSessionStream(surroundings, number, SessionWork::kRenew);
  if (work == "renew-signed") return MakeSessionStream(surroundings, number, SessionWork::kRenewSigned);
  if (work == "seat-stream") return MakeSessionStream(surroundings, number, SessionWork::kSeat);
  if (work == "seat-unary") return MakeSeatCaller(surroundings, number);
  if (work == "seat-queue") return MakeQueueStream(surroundings, number);
  if (work == "echo-renew") return MakeEchoStream(surroundings, number, EchoFrame::kRenew);
  if (work == "echo-acquire") return MakeEchoStream(surroundings, number, EchoFrame::kAcquire);
  if (work == "nothing") return MakeNothingCaller(surroundings, number);
  if (work == "cloud-check") return MakeCloudCaller(surroundings, number, CloudWork::kCheck);
  if (work == "cloud-move") return MakeCloudCaller(surroundings, number, CloudWork::kMove);
  if (work == "cloud-open") return MakeCloudCaller(surroundings, number, CloudWork::kOpen);
  if (work == "etcd-seat") return MakeEtcdSeat(surroundings, number);
  if (work == "etcd-lease") return MakeEtcdLease(surroundings, number);
  if (work == "etcd-keepalive") return MakeEtcdKeepAlive(surroundings, number);
  return nullptr;
}

}  // namespace bench

int main(int count, char** arguments) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  const bench::Options options = bench::ReadOptions(count, arguments);
  bench::Load load(options);
  const bool opened = load.OpenUntil(options.opened);
  if (opened) load.Obey();
  std::fflush(stdout);
  _exit(opened ? 0 : 1);  // the server is about to be stopped; taking every stream down first helps nobody
}
