#include "queue_stream.h"

#include <string>

#include "session.h"

namespace bench {
namespace {

class QueueStream;

// The one seat of this process and the turn that is under way.
struct Turn {
  QueueStream* holder = nullptr;
  Worker* worker = nullptr;  // whose operation it is; nullptr for none
  bool granted = false;      // the next has the seat
  bool queued = false;       // the former holder waits again
};

Turn& TheTurn() {
  static Turn turn;
  return turn;
}

class QueueStream final : public Session {
 public:
  QueueStream(const Surroundings& surroundings, int number) : Session(surroundings, number) {}

  void Begin() override {
    Turn& turn = TheTurn();
    if (turn.holder == nullptr) {
      return surroundings_.host->Failed(this, "nobody has the seat that all wait for");
    }
    turn.worker = this;
    turn.granted = turn.queued = false;
    turn.holder->Session::Begin();
  }

 protected:
  bool Greeting(Request* request) override {
    if (Session::Greeting(request)) return true;
    if (acquire_sequence_ > 0) return false;
    AskAcquire(request->mutable_acquire(), /*wait=*/true);
    return true;
  }

  void Greeted(const Response& response) override {
    if (!opened()) return Session::Greeted(response);
    if (response.has_queued()) return Wait(response);
    lease_ = CheckedLease(response);
    TheTurn().holder = this;
  }

  // Positions that are told again, and the seat when its turn has come.
  bool Aside(const Response& response) override {
    if (!waits_) return false;
    if (response.has_queued()) return true;
    lease_ = CheckedLease(response);
    waits_ = false;
    Turn& turn = TheTurn();
    turn.holder = this;
    turn.granted = true;
    turn.worker->ended = Now();
    EndTurn();
    return true;
  }

  void NextQuestion(Request* request) override {
    if (lease_.empty()) return AskAcquire(request->mutable_acquire(), /*wait=*/true);
    request->mutable_release()->set_sequence(NextSequence());
    request->mutable_release()->set_name(lease_);
  }

  void CheckAnswer(const Response& response) override {
    if (lease_.empty()) {
      Require(response.has_queued(), "someone got the seat past the queue: " + Described(response));
      return Wait(response);
    }
    Require(response.has_released() && response.released().name() == lease_, Described(response));
    lease_.clear();
  }

  void Finished() override {
    if (!waits_) return Session::Begin();  // released: wait again
    TheTurn().queued = true;
    EndTurn();
  }

 private:
  void Wait(const Response& response) {
    Require(response.queued().request_id() == request_id_, "`queued` answers another frame");
    waits_ = true;
  }

  void EndTurn() {
    Turn& turn = TheTurn();
    if (turn.worker == nullptr || !turn.granted || !turn.queued) return;
    Worker* worker = turn.worker;
    turn.worker = nullptr;
    surroundings_.host->Done(worker);
  }

  std::string lease_;  // held now; empty for none
  bool waits_ = false;
};

}  // namespace

std::unique_ptr<Worker> MakeQueueStream(const Surroundings& surroundings, int number) {
  return std::make_unique<QueueStream>(surroundings, number);
}

}  // namespace bench
