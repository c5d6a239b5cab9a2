// A caller of unary calls: seats without a stream, or a call that does nothing.
#pragma once

#include <memory>

#include "worker.h"

namespace bench {

// Calls SeatService.AcquireSeat and SeatService.ReleaseSeat in turn.
std::unique_ptr<Worker> MakeSeatCaller(const Surroundings& surroundings, int number);

// Calls a method that gives the message back that it got, which is as large as an acquire.
std::unique_ptr<Worker> MakeNothingCaller(const Surroundings& surroundings, int number);

}  // namespace bench
