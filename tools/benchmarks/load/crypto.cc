#include "crypto.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <time.h>

#include <cstdio>
#include <stdexcept>

namespace bench {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kMacBytes = 16;

void Require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("OpenSSL could not ") + what);
}

const unsigned char* Unsigned(const std::string& bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

unsigned char* Unsigned(std::string* bytes) { return reinterpret_cast<unsigned char*>(bytes->data()); }

OSSL_PARAM Octets(const char* name, const std::string& bytes) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(bytes.data()), bytes.size());
}

std::string Derive(const std::string& secret, const std::string& salt, const std::string& info) {
  std::unique_ptr<EVP_KDF, Freed<EVP_KDF, EVP_KDF_free>> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  std::unique_ptr<EVP_KDF_CTX, Freed<EVP_KDF_CTX, EVP_KDF_CTX_free>> state(EVP_KDF_CTX_new(kdf.get()));
  std::string digest = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      Octets(OSSL_KDF_PARAM_KEY, secret),
      Octets(OSSL_KDF_PARAM_SALT, salt),
      Octets(OSSL_KDF_PARAM_INFO, info),
      OSSL_PARAM_construct_end(),
  };
  std::string derived(kKeyBytes, '\0');
  Require(EVP_KDF_derive(state.get(), Unsigned(&derived), derived.size(), parameters) == 1,
          "derive a session key");
  return derived;
}

MacState Prepared(const std::string& session_key, const std::string& label) {
  static EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "BLAKE2BMAC", nullptr);
  Require(mac != nullptr, "find BLAKE2b");
  MacState state(EVP_MAC_CTX_new(mac));
  size_t size = kMacBytes;
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
      Octets(OSSL_MAC_PARAM_CUSTOM, label),
      OSSL_PARAM_construct_end(),
  };
  Require(EVP_MAC_init(state.get(), Unsigned(session_key), session_key.size(), parameters) == 1,
          "prepare a code");
  return state;
}

std::string Code(const MacState& prepared, const std::string& data) {
  MacState state(EVP_MAC_CTX_dup(prepared.get()));
  std::string code(kMacBytes, '\0');
  size_t size = 0;
  Require(state && EVP_MAC_update(state.get(), Unsigned(data), data.size()) == 1 &&
              EVP_MAC_final(state.get(), Unsigned(&code), &size, code.size()) == 1 && size == kMacBytes,
          "compute a code");
  return code;
}

// Codes cover parts; each goes after its length, 4 bytes big-endian.
void AppendPart(std::string* data, const std::string& part) {
  for (int shift = 24; shift >= 0; shift -= 8) data->push_back(static_cast<char>(part.size() >> shift));
  data->append(part);
}

void AppendNumber(std::string* data, uint64_t value) {
  data->append("\0\0\0\x08", 4);
  for (int shift = 56; shift >= 0; shift -= 8) data->push_back(static_cast<char>(value >> shift));
}

}  // namespace

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  Require(RAND_bytes(Unsigned(&bytes), static_cast<int>(count)) == 1, "make random bytes");
  return bytes;
}

std::string NewRequestId() {
  static constexpr char kDigits[] = "0123456789abcdef";
  // RFC 9562, 5.7: 48 bits of milliseconds, then the rest of the millisecond, then randomness.
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t milliseconds = now.tv_sec * 1'000ull + now.tv_nsec / 1'000'000;
  const uint64_t fraction = now.tv_nsec % 1'000'000 * 4'096ull / 1'000'000;
  std::string random = RandomBytes(16);
  for (int i = 0; i < 6; ++i) random[i] = static_cast<char>(milliseconds >> (40 - 8 * i));
  random[6] = static_cast<char>(0x70 | fraction >> 8);  // version 7
  random[7] = static_cast<char>(fraction);
  random[8] = static_cast<char>((random[8] & 0x3f) | 0x80);  // the variant of RFC 9562
  std::string text;
  text.reserve(36);
  for (size_t i = 0; i < random.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    const auto byte = static_cast<unsigned char>(random[i]);
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

KeyShare::KeyShare() : key_(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519")), public_bytes_(kKeyBytes, '\0') {
  size_t size = kKeyBytes;
  Require(key_ && EVP_PKEY_get_raw_public_key(key_.get(), Unsigned(&public_bytes_), &size) == 1,
          "make a key share");
}

std::string KeyShare::Agree(const std::string& peer_public, const std::string& nonce,
                            const std::string& session) const {
  const Key peer(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, Unsigned(peer_public), peer_public.size()));
  Require(peer != nullptr, "read the server's key share");
  std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX, EVP_PKEY_CTX_free>> agreement(
      EVP_PKEY_CTX_new(key_.get(), nullptr));
  std::string secret(kKeyBytes, '\0');
  size_t size = secret.size();
  Require(EVP_PKEY_derive_init(agreement.get()) == 1 &&
              EVP_PKEY_derive_set_peer(agreement.get(), peer.get()) == 1 &&
              EVP_PKEY_derive(agreement.get(), Unsigned(&secret), &size) == 1,
          "agree on a session key");
  static const std::string kInfo("keypeg session key v1\0", 22);
  return Derive(secret, nonce, kInfo + session);
}

FrameAuthenticator::FrameAuthenticator(const std::string& session_key)
    : renew_(Prepared(session_key, "kp1 renew")),
      renewed_(Prepared(session_key, "kp1 renewed")),
      opened_(Prepared(session_key, "kp1 opened")),
      acquired_(Prepared(session_key, "kp1 acquired")) {}

std::string FrameAuthenticator::Renew(uint64_t sequence, const std::string& nonce) const {
  std::string data;
  AppendNumber(&data, sequence);
  AppendPart(&data, nonce);
  return Code(renew_, data);
}

std::string FrameAuthenticator::Renewed(uint64_t sequence, uint64_t valid_for_us) const {
  std::string data;
  AppendNumber(&data, sequence);
  AppendNumber(&data, valid_for_us);
  return Code(renewed_, data);
}

std::string FrameAuthenticator::Opened(uint64_t sequence, const std::string& session,
                                       uint64_t valid_for_us) const {
  std::string data;
  AppendNumber(&data, sequence);
  AppendPart(&data, session);
  AppendNumber(&data, valid_for_us);
  AppendNumber(&data, 0);  // not resumed
  AppendNumber(&data, 0);  // no leases
  return Code(opened_, data);
}

std::string FrameAuthenticator::Acquired(uint64_t sequence, const std::string& request_id,
                                         const keypeg::v1::Lease& lease) const {
  std::string data;
  AppendNumber(&data, sequence);
  AppendPart(&data, request_id);
  AppendPart(&data, lease.name());
  AppendNumber(&data, lease.units());
  AppendNumber(&data, lease.fencing_number());
  AppendNumber(&data, lease.features_size());
  for (const auto& feature : lease.features()) {
    AppendPart(&data, feature.feature());
    AppendNumber(&data, feature.units());
  }
  return Code(acquired_, data);
}

}  // namespace bench
