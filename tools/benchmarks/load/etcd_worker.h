// Work for etcd that is like keypeg's: seats as keys, held with or without a lease, and leases kept alive.
#pragma once

#include <memory>

#include "worker.h"

namespace bench {

// Takes a seat by a transaction that puts its key if it is not there, and gives it back by one that deletes
// it if it is: compare and put, nothing else.
std::unique_ptr<Worker> MakeEtcdSeat(const Surroundings& surroundings, int number);

// Takes a seat by granting a lease and putting the key with it in a guarded transaction, and gives it back by
// revoking the lease: what an app does whose seat is to end when it crashes.
std::unique_ptr<Worker> MakeEtcdLease(const Surroundings& surroundings, int number);

// Keeps one lease alive on a stream.
std::unique_ptr<Worker> MakeEtcdKeepAlive(const Surroundings& surroundings, int number);

}  // namespace bench
