// The app's half of a session key and the codes of its frames (docs/formats.md, "Session key").
//
// Promises: the same bytes as clients/python/keypeg/sessionkey.py. What OpenSSL refuses is an exception.
// Leaves to others: when to check which code (session_stream).
#pragma once

#include <openssl/evp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "keypeg/v1/seat.pb.h"

namespace bench {

template <typename T, void (*Free)(T*)>
struct Freed {
  void operator()(T* pointer) const { Free(pointer); }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using MacState = std::unique_ptr<EVP_MAC_CTX, Freed<EVP_MAC_CTX, EVP_MAC_CTX_free>>;

std::string RandomBytes(size_t count);

// A new UUID of version 7 as text, as the SDK makes them: it grows with time.
std::string NewRequestId();

// An X25519 key of its own for one session.
class KeyShare {
 public:
  KeyShare();

  const std::string& public_bytes() const { return public_bytes_; }

  // The 32 bytes that both ends share after the `open` with this nonce.
  std::string Agree(const std::string& peer_public, const std::string& nonce,
                    const std::string& session) const;

 private:
  Key key_;
  std::string public_bytes_;
};

// The codes of frames under one session key; 16 bytes each.
class FrameAuthenticator {
 public:
  explicit FrameAuthenticator(const std::string& session_key);

  std::string Renew(uint64_t sequence, const std::string& nonce) const;
  std::string Renewed(uint64_t sequence, uint64_t valid_for_us) const;
  std::string Opened(uint64_t sequence, const std::string& session, uint64_t valid_for_us) const;
  std::string Acquired(uint64_t sequence, const std::string& request_id,
                       const keypeg::v1::Lease& lease) const;

 private:
  // One keyed state per kind of frame; each code goes on from a copy.
  MacState renew_;
  MacState renewed_;
  MacState opened_;
  MacState acquired_;
};

}  // namespace bench
