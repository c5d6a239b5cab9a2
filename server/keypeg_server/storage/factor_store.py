"""Second factors in tables; see service/sign_in_ports.py for what is promised."""

from __future__ import annotations

from sqlalchemy import update
from sqlmodel import Session, col, delete

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.second_factor import FactorReset
from keypeg_server.service.sign_in_ports import Totp
from keypeg_server.storage.tables_sign_in import FactorResetRow, RecoveryCodeRow, TotpRow


class SqlFactors:
    """`Factors` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def totp(self, user: str) -> Totp | None:
        row = self._session.get(TotpRow, user)
        if row is None:
            return None
        return Totp(row.user, row.wrapped_secret, row.confirmed, row.last_step)

    def put_totp(self, totp: Totp) -> None:
        row = TotpRow(
            user=totp.user,
            wrapped_secret=totp.wrapped_secret,
            confirmed=totp.confirmed,
            last_step=totp.last_step,
        )
        self._session.merge(row)
        self._session.flush()

    def use_step(self, user: str, step: int) -> bool:
        newer = (col(TotpRow.user) == user, col(TotpRow.last_step) < step)
        used = self._session.exec(update(TotpRow).where(*newer).values(last_step=step))
        return used.rowcount == 1

    def use_recovery_code(self, user: str, digest: bytes) -> bool:
        mine = (col(RecoveryCodeRow.user) == user, col(RecoveryCodeRow.digest) == digest)
        return self._session.exec(delete(RecoveryCodeRow).where(*mine)).rowcount == 1

    def put_recovery_codes(self, user: str, digests: list[bytes]) -> None:
        self._session.exec(delete(RecoveryCodeRow).where(col(RecoveryCodeRow.user) == user))
        for digest in digests:
            self._session.add(RecoveryCodeRow(user=user, digest=digest))
        self._session.flush()

    def reset_of(self, user: str) -> FactorReset | None:
        row = self._session.get(FactorResetRow, user)
        if row is None:
            return None
        return FactorReset(
            row.user,
            from_us(row.reset_time_us),
            row.by,
            row.by_login,
            row.one_time_codes,
            row.passkey_count,
            None if row.first_told_us is None else from_us(row.first_told_us),
        )

    def put_reset(self, reset: FactorReset) -> None:
        row = FactorResetRow(
            user=reset.user,
            reset_time_us=to_us(reset.reset_time),
            by=reset.by,
            by_login=reset.by_login,
            one_time_codes=reset.one_time_codes,
            passkey_count=reset.passkey_count,
            first_told_us=None if reset.first_told is None else to_us(reset.first_told),
        )
        self._session.merge(row)
        self._session.flush()

    def delete_totp(self, user: str) -> None:
        self._session.exec(delete(TotpRow).where(col(TotpRow.user) == user))

    def delete_factors(self, user: str) -> None:
        self._session.exec(delete(RecoveryCodeRow).where(col(RecoveryCodeRow.user) == user))
        self.delete_totp(user)
