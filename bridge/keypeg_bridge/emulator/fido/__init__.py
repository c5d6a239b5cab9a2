"""The FIDO side of an emulated key: a CTAP 2.1 authenticator with U2F, on CTAPHID. No I/O; time is an argument."""
