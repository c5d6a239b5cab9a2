"""The published vectors: current, right by this code, and right by the document alone."""

from __future__ import annotations

import ast
import base64
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keypeg import (
    borrowed,
    credential_document,
    document,
    envelope,
    fingerprint,
    key_contents,
    proof,
    proof_checks,
    receipts,
    sessionkey,
)
from keypeg.errors import KeypegError
from keypeg.v1.proof_pb2 import Proof
from keypeg.versions import Release

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
VERIFIER = ROOT / "tools" / "verify_vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    done = run(ROOT / "tools" / "vectors", "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_verifier_that_follows_the_document_agrees_with_every_vector() -> None:
    done = run(VERIFIER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"\d{3,} checks, 0 disagreements\n", done.stdout)


def test_that_verifier_shares_no_code_with_keypeg() -> None:
    imported = set()
    for node in ast.walk(ast.parse(VERIFIER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def other(text: str) -> str:
    """Base64 whose last byte differs."""
    data = base64.b64decode(text)
    return base64.b64encode(data[:-1] + bytes([data[-1] ^ 1])).decode()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("envelopes", ("pae", 1, "pae")),
        ("envelopes", ("texts", 0, "envelope")),
        ("session_keys", ("key",)),
        ("session_keys", ("frames", 4, "mac")),
        ("challenges", (0, "challenge")),
        ("challenges", (1, "signatures", 0, "signature")),
        ("fingerprints", (0, "components", 0, "digest")),
        ("proofs", (0, "expected", "nonce")),
        ("proofs", (0, "expected", "publisher_root")),
        ("receipts", (0, "receipt")),
        ("receipts", (0, "expected", "nonce")),
    ],
    ids=str,
)
def test_that_verifier_sees_a_changed_vector(tmp_path: Path, name: str, path: tuple) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(VECTORS, folder)
    content = load(name)
    *way, last = path
    inner = content
    for step in way:
        inner = inner[step]
    inner[last] = other(inner[last])
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    done = run(VERIFIER, folder)
    assert done.returncode == 1
    assert f"{name}.json" in done.stdout


def test_that_verifier_sees_a_wrong_reason_and_a_wrong_outcome(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(VECTORS, folder)
    content = load("proofs")
    wrong = next(row for row in content if row["reason"] == "NONCE_MISMATCH")
    right = next(row for row in content if row["reason"] is None)
    wrong["reason"] = "DOCUMENT_EXPIRED"
    right["verified"]["valid_for"] += 1
    (folder / "proofs.json").write_text(json.dumps(content), encoding="utf-8")
    done = run(VERIFIER, folder)
    assert done.returncode == 1
    assert done.stdout.count("the vector says") == 2


@pytest.mark.parametrize("row", load("proofs"), ids=lambda row: row["name"])
def test_a_published_proof_is_judged_as_it_says(row: dict[str, Any]) -> None:
    expected = dict(row["expected"])
    for name in ("publisher_root", "nonce", "client_key_share", "server_key_share", "return_key"):
        expected[name] = base64.b64decode(expected[name])
    expected["now"] = EPOCH + timedelta(microseconds=expected["now"])
    released = expected["release"]["time"]
    expected["release"] = Release(
        expected["release"]["version"],
        None if released is None else EPOCH + timedelta(microseconds=released),
    )
    reason, verified = None, None
    try:
        found = proof.verify(
            Proof.FromString(base64.b64decode(row["proof"])), proof.Expectation(**expected)
        )
        verified = found.valid_for // timedelta(microseconds=1)
    except KeypegError as error:
        reason = error.reason.name
    assert reason == row["reason"]
    assert verified == row.get("verified", {}).get("valid_for")


def test_every_kind_of_proof_is_published_right_and_wrong() -> None:
    found = {(row["name"].split(":")[0], row["reason"] is None) for row in load("proofs")}
    assert found == {
        (kind, right)
        for kind in ("cloud", "key", "host", "site", "borrow")
        for right in (True, False)
    }


def test_every_reason_of_the_document_s_steps_is_published() -> None:
    steps = FORMATS.split("## Verification")[1].split("Fencing numbers are")[0]
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", steps))
    published = {
        row["reason"] for name in ("proofs", "receipts", "credentials") for row in load(name)
    }
    assert named == published - {None}


# The document and the code


def test_the_code_cites_steps_that_the_document_has_and_all_of_them() -> None:
    numbered = set(re.findall(r"^(\d+)\. \*\*", FORMATS, re.MULTILINE))
    cited: set[str] = set()
    for module in (
        borrowed,
        credential_document,
        document,
        envelope,
        key_contents,
        proof,
        proof_checks,
        receipts,
    ):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        cited |= set(re.findall(r"[Ss]tep (\d+)\b", source))
    assert numbered == {str(number) for number in range(1, 23)}
    assert cited == numbered


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("payload", document.PAYLOAD_BYTES),
        ("signatures of an envelope", document.SIGNATURE_COUNT),
        ("one signature", envelope.SIGNATURE_BYTES),
        ("key id", envelope.KEY_ID_CHARACTERS),
        ("payload type", envelope.TYPE_CHARACTERS),
        ("envelope", envelope.ENVELOPE_BYTES),
        ("text", envelope.TEXT_CHARACTERS),
        ("keys of a delegation", document.DELEGATED_KEY_COUNT),
        ("parts of a fingerprint", fingerprint.COMPONENT_COUNT),
        ("leases of a grant", proof.LEASE_COUNT),
        ("`Grant.valid_for`", proof.GRANT_VALID_FOR.days),
    ],
)
def test_the_document_s_limits_are_the_code_s(row: str, limit: int) -> None:
    found = re.search(rf"^\| {re.escape(row)} \| ([^|]+) \|", FORMATS, re.MULTILINE)
    assert found is not None
    numbers = re.findall(r"\d+", found[1].replace(",", ""))
    assert int(numbers[-1]) == limit


def test_the_document_s_labels_are_the_code_s() -> None:
    for label in (
        sessionkey.RENEW,
        sessionkey.RENEWED,
        sessionkey.OPENED,
        sessionkey.ACQUIRED,
        sessionkey.RESUME,
    ):
        assert f"`{label.decode()}`" in FORMATS
    for kind in (
        document.DELEGATION_TYPE,
        document.LICENSE_TYPE,
        document.GRANT_TYPE,
        document.RECEIPT_TYPE,
        envelope.CONTENTS_TYPE,
        document.BORROW_TYPE,
    ):
        assert f"`{kind}`" in FORMATS
