"""The least that a protected app does."""

import keypeg

ROOT = "00" * 32  # the publisher's public root key; printed by `keypegd init`


def main() -> None:
    with keypeg.open_session("cad", root=ROOT, cloud="open") as session:
        print(f"running for {session.time_left} unless renewed; features: {session.features}")
        while session.may_run:
            input("press Enter to do something protected ")
        session.require()  # raises why not


if __name__ == "__main__":
    main()
