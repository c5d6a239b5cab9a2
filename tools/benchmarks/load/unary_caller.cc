#include "unary_caller.h"

#include <unistd.h>

#include <stdexcept>
#include <string>

#include "crypto.h"
#include "keypeg/v1/seat_service.pb.h"
#include "unary_method.h"

namespace bench {
namespace {

using keypeg::v1::AcquireSeatRequest;
using keypeg::v1::AcquireSeatResponse;
using keypeg::v1::ReleaseSeatRequest;
using keypeg::v1::ReleaseSeatResponse;

void FillAcquire(AcquireSeatRequest* request, const Options& options, int number) {
  request->set_request_id(NewRequestId());
  request->set_pool(options.pool);
  request->set_units(1);
  request->set_priority(Priority(number));
  request->mutable_device()->set_id("device-load-" + std::to_string(number));
  request->mutable_device()->set_host_name("load-" + std::to_string(number));
  request->mutable_app()->set_name("load");
  request->mutable_app()->set_version("1.0");
  request->mutable_app()->set_sdk("keypeg-bench/1");
  request->mutable_app()->set_process_id(static_cast<uint32_t>(getpid()));
}

class SeatCaller final : public Worker {
 public:
  SeatCaller(const Surroundings& surroundings, int number)
      : surroundings_(surroundings),
        number_(number),
        acquire_(surroundings, this, "/keypeg.v1.SeatService/AcquireSeat",
                 [this](const AcquireSeatResponse& response) { Acquired(response); }),
        release_(surroundings, this, "/keypeg.v1.SeatService/ReleaseSeat",
                 [this](const ReleaseSeatResponse& response) { Released(response); }) {}

  void Open() override { surroundings_.host->Opened(); }

  void Begin() override {
    if (lease_.name().empty()) {
      AcquireSeatRequest request;
      FillAcquire(&request, surroundings_.options, number_);
      acquire_.Call(request);
    } else {
      ReleaseSeatRequest request;
      request.set_name(lease_.name());
      request.set_fencing_number(lease_.fencing_number());
      release_.Call(request);
    }
  }

 private:
  void Acquired(const AcquireSeatResponse& response) {
    if (response.lease().name().empty()) throw std::runtime_error("AcquireSeat gave no lease");
    lease_ = response.lease();
    surroundings_.host->Done(this);
  }

  void Released(const ReleaseSeatResponse& response) {
    if (!response.released()) throw std::runtime_error("ReleaseSeat found no lease to release");
    lease_.Clear();
    surroundings_.host->Done(this);
  }

  const Surroundings surroundings_;
  const int number_;
  keypeg::v1::Lease lease_;  // held now; without a name for none
  Method<AcquireSeatRequest, AcquireSeatResponse> acquire_;
  Method<ReleaseSeatRequest, ReleaseSeatResponse> release_;
};

class NothingCaller final : public Worker {
 public:
  NothingCaller(const Surroundings& surroundings, int number)
      : surroundings_(surroundings),
        number_(number),
        nothing_(surroundings, this, "/keypeg.bench.Floor/Nothing",
                 [this](const AcquireSeatRequest& response) { Came(response); }) {}

  void Open() override { surroundings_.host->Opened(); }

  void Begin() override {
    AcquireSeatRequest request;
    FillAcquire(&request, surroundings_.options, number_);
    request_id_ = request.request_id();
    nothing_.Call(request);
  }

 private:
  void Came(const AcquireSeatRequest& response) {
    if (response.request_id() != request_id_) {
      throw std::runtime_error("the call that does nothing gave something else back");
    }
    surroundings_.host->Done(this);
  }

  const Surroundings surroundings_;
  const int number_;
  std::string request_id_;
  Method<AcquireSeatRequest, AcquireSeatRequest> nothing_;
};

}  // namespace

std::unique_ptr<Worker> MakeSeatCaller(const Surroundings& surroundings, int number) {
  return std::make_unique<SeatCaller>(surroundings, number);
}

std::unique_ptr<Worker> MakeNothingCaller(const Surroundings& surroundings, int number) {
  return std::make_unique<NothingCaller>(surroundings, number);
}

}  // namespace bench
