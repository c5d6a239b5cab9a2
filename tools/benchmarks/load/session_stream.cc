#include "session_stream.h"

#include <unistd.h>

#include <optional>
#include <string>

#include "crypto.h"
#include "keypeg/v1/session_service.pb.h"
#include "stream.h"

namespace bench {
namespace {

using keypeg::v1::HoldSessionRequest;
using keypeg::v1::HoldSessionResponse;

constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kNonceBytes = 32;

uint64_t Microseconds(const google::protobuf::Duration& duration) {
  return static_cast<uint64_t>(duration.seconds()) * 1'000'000 + duration.nanos() / 1'000;
}

void Require(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what);
}

std::string Described(const HoldSessionResponse& response) {
  if (response.has_denied()) return "the server denied: " + response.denied().explanation().sentence();
  return "the server answered with frame " + std::to_string(response.frame_case());
}

class SessionStream final : public Stream<HoldSessionRequest, HoldSessionResponse> {
 public:
  SessionStream(const Surroundings& surroundings, int number, SessionWork work)
      : Stream(surroundings, "/keypeg.v1.SessionService/HoldSession"),
        options_(surroundings.options),
        number_(number),
        work_(work) {}

 protected:
  bool Greeting(HoldSessionRequest* request) override {
    share_ = std::make_unique<KeyShare>();
    nonce_ = RandomBytes(kNonceBytes);
    auto* open = request->mutable_open();
    open->set_sequence(++sequence_);
    open->set_protocol_version(kProtocolVersion);
    open->mutable_device()->set_id("device-load-" + std::to_string(number_));
    open->mutable_device()->set_host_name("load-" + std::to_string(number_));
    open->mutable_app()->set_name("load");
    open->mutable_app()->set_version("1.0");
    open->mutable_app()->set_sdk("keypeg-bench/1");
    open->mutable_app()->set_process_id(static_cast<uint32_t>(getpid()));
    open->set_product(options_.product);
    open->set_nonce(nonce_);
    open->set_key_share(share_->public_bytes());
    return true;
  }

  void Greeted(const HoldSessionResponse& response) override {
    Require(response.has_opened(), Described(response));
    const auto& opened = response.opened();
    codes_.emplace(share_->Agree(opened.key_share(), nonce_, opened.session()));
    share_.reset();
    const std::string expected =
        codes_->Opened(opened.sequence(), opened.session(), Microseconds(opened.valid_for()));
    Require(opened.sequence() == sequence_ && opened.mac() == expected, "the code of `opened` is wrong");
  }

  void NextQuestion(HoldSessionRequest* request) override {
    ++sequence_;
    if (work_ != SessionWork::kSeat) return AskRenew(request->mutable_renew());
    if (lease_.empty()) return AskAcquire(request->mutable_acquire());
    request->mutable_release()->set_sequence(sequence_);
    request->mutable_release()->set_name(lease_);
  }

  void CheckAnswer(const HoldSessionResponse& response) override {
    if (work_ != SessionWork::kSeat) return CheckRenewed(response);
    if (lease_.empty()) return CheckAcquired(response);
    Require(response.has_released(), Described(response));
    Require(response.released().sequence() == sequence_ && response.released().name() == lease_,
            "`released` answers something else");
    lease_.clear();
  }

 private:
  void AskRenew(keypeg::v1::Renew* renew) {
    nonce_ = work_ == SessionWork::kRenewSigned ? RandomBytes(kNonceBytes) : "";
    renew->set_sequence(sequence_);
    renew->set_nonce(nonce_);
    renew->set_mac(codes_->Renew(sequence_, nonce_));
  }

  void AskAcquire(keypeg::v1::Acquire* acquire) {
    request_id_ = NewRequestId();
    acquire->set_sequence(sequence_);
    acquire->set_request_id(request_id_);
    acquire->set_pool(options_.pool);
    acquire->set_units(1);
  }

  void CheckRenewed(const HoldSessionResponse& response) const {
    Require(response.has_renewed(), Described(response));
    const auto& renewed = response.renewed();
    Require(renewed.sequence() == sequence_, "`renewed` answers another frame");
    Require(renewed.mac() == codes_->Renewed(sequence_, Microseconds(renewed.valid_for())),
            "the code of `renewed` is wrong");
    Require(renewed.has_proof() == (work_ == SessionWork::kRenewSigned),
            "`renewed` has a signed Grant, or has none, unlike what was asked for");
  }

  void CheckAcquired(const HoldSessionResponse& response) {
    Require(response.has_acquired(), Described(response));
    const auto& acquired = response.acquired();
    Require(acquired.sequence() == sequence_ && acquired.request_id() == request_id_,
            "`acquired` answers another frame");
    Require(acquired.mac() == codes_->Acquired(sequence_, request_id_, acquired.lease()),
            "the code of `acquired` is wrong");
    lease_ = acquired.lease().name();
  }

  const Options& options_;
  const int number_;
  const SessionWork work_;
  uint64_t sequence_ = 0;
  std::string nonce_;
  std::unique_ptr<KeyShare> share_;
  std::optional<FrameAuthenticator> codes_;
  std::string request_id_;
  std::string lease_;  // held now; empty for none
};

}  // namespace

std::unique_ptr<Worker> MakeSessionStream(const Surroundings& surroundings, int number,
                                          SessionWork work) {
  return std::make_unique<SessionStream>(surroundings, number, work);
}

}  // namespace bench
