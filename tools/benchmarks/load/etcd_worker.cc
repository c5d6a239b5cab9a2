#include "etcd_worker.h"

#include <unistd.h>

#include <stdexcept>
#include <string>

#include "etcd.pb.h"
#include "stream.h"
#include "unary_method.h"

namespace bench {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseGrantResponse;
using etcdserverpb::LeaseKeepAliveRequest;
using etcdserverpb::LeaseKeepAliveResponse;
using etcdserverpb::LeaseRevokeRequest;
using etcdserverpb::LeaseRevokeResponse;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

constexpr int kLeaseSeconds = 3'600;  // as long as keypegd's grants in these measurements
constexpr char kTxn[] = "/etcdserverpb.KV/Txn";
constexpr char kGrant[] = "/etcdserverpb.Lease/LeaseGrant";

// As much about the holder as keypeg keeps.
std::string Holder(int number) {
  return "user=load@bench.example device=device-load-" + std::to_string(number) + " host=load-" +
         std::to_string(number) + " app=load process=" + std::to_string(getpid());
}

std::string Key(const char* kind, int number) {
  return std::string("seats/") + kind + "/" + std::to_string(getpid()) + "/" + std::to_string(number);
}

TxnRequest Guarded(const std::string& key, Compare::CompareResult version_is) {
  TxnRequest request;
  auto* compare = request.add_compare();
  compare->set_result(version_is);  // EQUAL to 0: not there; GREATER than 0: there
  compare->set_target(Compare::VERSION);
  compare->set_key(key);
  compare->set_version(0);
  return request;
}

void RequireSucceeded(const TxnResponse& response) {
  if (!response.succeeded()) throw std::runtime_error("etcd's guard did not hold: the seat is another's");
}

class EtcdSeat final : public Worker {
 public:
  EtcdSeat(const Surroundings& surroundings, int number)
      : surroundings_(surroundings),
        number_(number),
        key_(Key("txn", number)),
        txn_(surroundings, this, kTxn, [this](const TxnResponse& response) { Answered(response); }) {}

  void Open() override { surroundings_.host->Opened(); }

  void Begin() override {
    TxnRequest request = Guarded(key_, held_ ? Compare::GREATER : Compare::EQUAL);
    if (held_) {
      request.add_success()->mutable_request_delete_range()->set_key(key_);
    } else {
      auto* put = request.add_success()->mutable_request_put();
      put->set_key(key_);
      put->set_value(Holder(number_));
    }
    txn_.Call(request);
  }

 private:
  void Answered(const TxnResponse& response) {
    RequireSucceeded(response);
    held_ = !held_;
    surroundings_.host->Done(this);
  }

  const Surroundings surroundings_;
  const int number_;
  const std::string key_;
  Method<TxnRequest, TxnResponse> txn_;
  bool held_ = false;
};

class EtcdLease final : public Worker {
 public:
  EtcdLease(const Surroundings& surroundings, int number)
      : surroundings_(surroundings),
        number_(number),
        key_(Key("lease", number)),
        grant_(surroundings, this, kGrant,
               [this](const LeaseGrantResponse& response) { Granted(response); }),
        txn_(surroundings, this, kTxn, [this](const TxnResponse& response) { Put(response); }),
        revoke_(surroundings, this, "/etcdserverpb.Lease/LeaseRevoke",
                [this](const LeaseRevokeResponse&) { Revoked(); }) {}

  void Open() override { surroundings_.host->Opened(); }

  void Begin() override {
    if (lease_ == 0) {
      LeaseGrantRequest request;
      request.set_ttl(kLeaseSeconds);
      grant_.Call(request);
    } else {
      LeaseRevokeRequest request;
      request.set_id(lease_);
      revoke_.Call(request);
    }
  }

 private:
  void Granted(const LeaseGrantResponse& response) {
    if (response.id() == 0) throw std::runtime_error("etcd granted no lease");
    lease_ = response.id();
    TxnRequest request = Guarded(key_, Compare::EQUAL);
    auto* put = request.add_success()->mutable_request_put();
    put->set_key(key_);
    put->set_value(Holder(number_));
    put->set_lease(lease_);
    txn_.Call(request);
  }

  void Put(const TxnResponse& response) {
    RequireSucceeded(response);
    surroundings_.host->Done(this);
  }

  void Revoked() {
    lease_ = 0;
    surroundings_.host->Done(this);
  }

  const Surroundings surroundings_;
  const int number_;
  const std::string key_;
  Method<LeaseGrantRequest, LeaseGrantResponse> grant_;
  Method<TxnRequest, TxnResponse> txn_;
  Method<LeaseRevokeRequest, LeaseRevokeResponse> revoke_;
  int64_t lease_ = 0;  // held now; 0 for none
};

class EtcdKeepAlive final : public Stream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> {
 public:
  explicit EtcdKeepAlive(const Surroundings& surroundings)
      : Stream(surroundings, "/etcdserverpb.Lease/LeaseKeepAlive"),
        grant_(surroundings, this, kGrant,
               [this](const LeaseGrantResponse& response) { Granted(response); }) {}

  void Open() override {
    LeaseGrantRequest request;
    request.set_ttl(kLeaseSeconds);
    grant_.Call(request);
  }

 protected:
  // One question and answer, so that a stream that counts as open is open on both sides.
  bool Greeting(LeaseKeepAliveRequest* request) override {
    if (greeted_) return false;
    NextQuestion(request);
    return true;
  }

  void Greeted(const LeaseKeepAliveResponse& response) override {
    CheckAnswer(response);
    greeted_ = true;
  }

  void NextQuestion(LeaseKeepAliveRequest* request) override { request->set_id(lease_); }

  void CheckAnswer(const LeaseKeepAliveResponse& response) override {
    if (response.id() != lease_ || response.ttl() <= 0) {
      throw std::runtime_error("etcd did not keep the lease alive");
    }
  }

 private:
  void Granted(const LeaseGrantResponse& response) {
    if (response.id() == 0) throw std::runtime_error("etcd granted no lease");
    lease_ = response.id();
    Stream::Open();
  }

  Method<LeaseGrantRequest, LeaseGrantResponse> grant_;
  int64_t lease_ = 0;
  bool greeted_ = false;
};

}  // namespace

std::unique_ptr<Worker> MakeEtcdSeat(const Surroundings& surroundings, int number) {
  return std::make_unique<EtcdSeat>(surroundings, number);
}

std::unique_ptr<Worker> MakeEtcdLease(const Surroundings& surroundings, int number) {
  return std::make_unique<EtcdLease>(surroundings, number);
}

std::unique_ptr<Worker> MakeEtcdKeepAlive(const Surroundings& surroundings, int) {
  return std::make_unique<EtcdKeepAlive>(surroundings);
}

}  // namespace bench
