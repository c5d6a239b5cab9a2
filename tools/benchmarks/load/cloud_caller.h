// A caller of unary calls about the cloud session of an account of its own.
#pragma once

#include <memory>

#include "worker.h"

namespace bench {

enum class CloudWork {
  kCheck,  // GetCloudSession
  kMove,   // OpenCloudSession, by two devices in turn
  kOpen,   // OpenCloudSession and CloseCloudSession in turn, with one license that comes and goes
};

// The account is the `pool` option with the worker's number after it.
std::unique_ptr<Worker> MakeCloudCaller(const Surroundings& surroundings, int number, CloudWork work);

}  // namespace bench
