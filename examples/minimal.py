"""The least that a protected app does."""

import keypeg

PRODUCT = "publishers/acme/products/cad"
ROOT = "00" * 32  # the publisher's public root key; printed by `keypegd init` and `keypegd dev`


def main() -> None:
    with keypeg.open_session(PRODUCT, root=ROOT, cloud="open") as session:
        print(f"running for {session.time_left} unless renewed; features: {session.features}")
        while session.may_run:
            input("press Enter to do something protected ")
        session.require()  # raises why not


if __name__ == "__main__":
    main()
