// Load for tools/bench: one thread and one completion queue that keep many streams or callers busy.
//
// Opens all its workers, prints `ready`, then obeys lines on standard input: `run WARM SECONDS` works for
// WARM and then SECONDS seconds, prints `recording` in between and a `result` at the end; end of input or
// `quit` ends it. Everything printed is one JSON object a line. Closed loop: a worker that has its answer
// goes to the end of the line of those that wait for their turn, and `--outstanding` are under way at once.
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
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "echo_stream.h"
#include "options.h"
#include "session_stream.h"
#include "unary_caller.h"
#include "worker.h"

namespace bench {
namespace {

constexpr double kOpenSeconds = 120;    // for all workers together
constexpr double kAnswerSeconds = 20;   // for the last answers of a run
constexpr int kOpeningAtOnce = 64;      // so that opening is no burst that a server would refuse
constexpr double kBucketWidth = 1.02;   // latencies are counted in buckets 2 % wide; loads.py has the same
constexpr double kTick = 0.05;          // how often standard input is looked at while nothing happens

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

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

  // Opens every worker; false when one failed or the time ran out.
  bool OpenAll() {
    const double begun = Now();
    size_t next = 0;
    while (opened_ < workers_.size() && errors_ == 0 && Now() < begun + kOpenSeconds) {
      while (next < workers_.size() && next - opened_ < kOpeningAtOnce) workers_[next++]->Open();
      Turn(kTick);
    }
    for (const auto& worker : workers_) idle_.push_back(worker.get());
    std::ostringstream line;
    line << "{\"event\":\"ready\",\"workers\":" << opened_ << ",\"connections\":" << channels_.size()
         << ",\"seconds\":" << Now() - begun << ",\"errors\":" << errors_
         << ",\"first_error\":" << Quoted(first_error_) << "}";
    Say(line.str());
    return opened_ == workers_.size() && errors_ == 0;
  }

  void Obey() {
    std::string line;
    while (true) {
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (poll(&input, 1, 0) > 0) {
        double warm = 0;
        double seconds = 0;
        if (!std::getline(std::cin, line)) return;
        if (std::sscanf(line.c_str(), "run %lf %lf", &warm, &seconds) != 2) return;
        Run(warm, seconds);
      }
      Turn(kTick);  // connections stay alive only while someone looks after their queue
    }
  }

  void Opened() override { ++opened_; }

  void Done(Worker* worker) override {
    const double now = Now();
    --outstanding_;
    if (recording_ && now <= until_) {
      ++operations_;
      ++buckets_[Bucket(now - worker->begun)];
    }
    idle_.push_back(worker);
    if (running_) BeginNext(now);
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

  void BeginNext(double now) {
    if (idle_.empty()) return;
    Worker* worker = idle_.front();
    idle_.pop_front();
    ++outstanding_;
    worker->begun = now;
    worker->Begin();
  }

  void TurnUntil(double moment) {
    for (double now = Now(); now < moment && errors_ == 0; now = Now()) Turn(std::min(moment - now, kTick));
  }

  void Run(double warm, double seconds) {
    operations_ = 0;
    buckets_.clear();
    running_ = true;
    for (int i = 0; i < options_.outstanding; ++i) BeginNext(Now());
    TurnUntil(Now() + warm);
    Say("{\"event\":\"recording\"}");
    const double begun = Now();
    until_ = begun + seconds;
    recording_ = true;
    TurnUntil(until_);
    recording_ = false;
    running_ = false;
    const double took = Now() - begun;
    Say("{\"event\":\"recorded\"}");
    const double last = Now() + kAnswerSeconds;
    while (outstanding_ > 0 && errors_ == 0 && Now() < last) Turn(kTick);
    if (outstanding_ > 0 && errors_++ == 0) first_error_ = "answers are missing";
    SayResult(took);
  }

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
  bool recording_ = false;
  double until_ = 0;
  uint64_t operations_ = 0;
  std::map<int, uint64_t> buckets_;
  uint64_t errors_ = 0;
  std::string first_error_;
};

}  // namespace

void Authorize(grpc::ClientContext* context, const Options& options) {
  if (!options.token.empty()) context->AddMetadata("authorization", "Bearer " + options.token);
}

std::unique_ptr<Worker> MakeWorker(const Surroundings& surroundings, int number) {
  const std::string& work = surroundings.options.work;
  if (work == "renew") return MakeSessionStream(surroundings, number, SessionWork::kRenew);
  if (work == "renew-signed") return MakeSessionStream(surroundings, number, SessionWork::kRenewSigned);
  if (work == "seat-stream") return MakeSessionStream(surroundings, number, SessionWork::kSeat);
  if (work == "seat-unary") return MakeSeatCaller(surroundings, number);
  if (work == "echo-renew") return MakeEchoStream(surroundings, EchoFrame::kRenew);
  if (work == "echo-acquire") return MakeEchoStream(surroundings, EchoFrame::kAcquire);
  if (work == "nothing") return MakeNothingCaller(surroundings, number);
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
  const bool opened = load.OpenAll();
  if (opened) load.Obey();
  std::fflush(stdout);
  _exit(opened ? 0 : 1);  // the server is about to be stopped; taking every stream down first helps nobody
}
