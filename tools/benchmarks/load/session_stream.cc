#include "session_stream.h"

#include <string>

#include "session.h"

namespace bench {
namespace {

constexpr size_t kNonceBytes = 32;

class SessionStream final : public Session {
 public:
  SessionStream(const Surroundings& surroundings, int number, SessionWork work)
      : Session(surroundings, number), work_(work) {}

 protected:
  void NextQuestion(Request* request) override {
    if (work_ != SessionWork::kSeat) return AskRenew(request->mutable_renew());
    if (lease_.empty()) return AskAcquire(request->mutable_acquire(), /*wait=*/false);
    request->mutable_release()->set_sequence(NextSequence());
    request->mutable_release()->set_name(lease_);
  }

  void CheckAnswer(const Response& response) override {
    if (work_ != SessionWork::kSeat) return CheckRenewed(response);
    if (lease_.empty()) {
      lease_ = CheckedLease(response);
      return;
    }
    Require(response.has_released(), Described(response));
    Require(response.released().sequence() == sequence_ && response.released().name() == lease_,
            "`released` answers something else");
    lease_.clear();
  }

 private:
  void AskRenew(keypeg::v1::Renew* renew) {
    nonce_ = work_ == SessionWork::kRenewSigned ? RandomBytes(kNonceBytes) : "";
    renew->set_sequence(NextSequence());
    renew->set_nonce(nonce_);
    renew->set_mac(codes_->Renew(sequence_, nonce_));
  }

  void CheckRenewed(const Response& response) const {
    Require(response.has_renewed(), Described(response));
    const auto& renewed = response.renewed();
    Require(renewed.sequence() == sequence_, "`renewed` answers another frame");
    Require(renewed.mac() == codes_->Renewed(sequence_, Microseconds(renewed.valid_for())),
            "the code of `renewed` is wrong");
    Require(renewed.has_proof() == (work_ == SessionWork::kRenewSigned),
            "`renewed` has a signed Grant, or has none, unlike what was asked for");
  }

  const SessionWork work_;
  std::string lease_;  // held now; empty for none
};

}  // namespace

std::unique_ptr<Worker> MakeSessionStream(const Surroundings& surroundings, int number,
                                          SessionWork work) {
  return std::make_unique<SessionStream>(surroundings, number, work);
}

}  // namespace bench
