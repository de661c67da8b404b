"""`PREFECT_ATOMIC_*` settings, read as Prefect reads its own: environment, profile, `.env`, `prefect.toml`."""

from functools import cache
from pathlib import Path
from typing import ClassVar

from prefect.settings import get_current_settings
from prefect.settings.base import PrefectBaseSettings, PrefectSettingsConfigDict, build_settings_config
from pydantic import Field, SecretStr, ValidationError, field_validator


class AtomicSettings(PrefectBaseSettings):
    """How this package behaves in a process. Durations are in seconds."""

    # The URL of a store may hold a password, and pydantic quotes what it refuses.
    model_config: ClassVar[PrefectSettingsConfigDict] = {
        **build_settings_config(("atomic",)),
        "hide_input_in_errors": True,
    }

    token_store: SecretStr = Field(
        default=SecretStr("file"),
        description="Where processes share tokens: `file` (under PREFECT_HOME) or `memory` (this process only).",
    )
    token_store_path: Path | None = Field(
        default=None, description="The folder of the file store; by default `atomic/tokens` under PREFECT_HOME."
    )
    token_request_timeout: float = Field(
        default=30.0, gt=0, le=3600, description="The longest that a token request may take, all its steps together."
    )
    token_lease: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="The longest that others wait for who asks for a token; more than `token_request_timeout`.",
    )

    outbox_path: Path | None = Field(
        default=None,
        description="The folder where webhook events wait; by default `atomic/outbox` under PREFECT_HOME.",
    )

    limits_path: Path | None = Field(
        default=None,
        description="The folder where processes count their calls to Marketo; by default `atomic/limits` under "
        "PREFECT_HOME.",
    )

    @field_validator("token_store")
    @classmethod
    def _is_a_store_we_have(cls, store: SecretStr) -> SecretStr:
        if store.get_secret_value() not in ("file", "memory"):  # secret: a store's URL may hold a password
            raise ValueError("must be `file` or `memory`")
        return store

    @field_validator("token_store_path", "outbox_path", "limits_path")
    @classmethod
    def _is_absolute(cls, path: Path | None) -> Path | None:
        return path and path.expanduser().absolute()  # no shell reads a profile, and a process may change its folder


@cache
def settings() -> AtomicSettings:
    """The settings of this process, read once; `settings.cache_clear()` has them read again.

    Raises:
        ValueError: One of them cannot be; says which, and how to mend it.
    """
    try:
        return AtomicSettings()
    except ValidationError as error:
        faults = [
            f"PREFECT_ATOMIC_{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise ValueError("; ".join(faults)) from None


def token_folder() -> Path:
    """The folder of the file store. It follows PREFECT_HOME, so two Prefect homes share no token."""
    return settings().token_store_path or get_current_settings().home / "atomic" / "tokens"


def outbox_folder() -> Path:
    """The folder where the events of subscriptions wait that name no outbox of their own."""
    return settings().outbox_path or get_current_settings().home / "atomic" / "outbox"


def limits_folder() -> Path:
    """The folder where the processes of this host count their calls."""
    return settings().limits_path or get_current_settings().home / "atomic" / "limits"
