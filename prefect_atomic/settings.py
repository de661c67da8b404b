"""`PREFECT_ATOMIC_*` settings, read as Prefect reads its own: environment, profile, `.env`, `prefect.toml`."""

from functools import cache
from pathlib import Path
from typing import ClassVar

from prefect.settings import get_current_settings
from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict


class AtomicSettings(PrefectBaseSettings):
    """How this package behaves in a process. Durations are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = build_settings_config(("atomic",))

    token_store: SecretStr = Field(
        default=SecretStr("file"),
        description="Where processes share tokens: `file` (under PREFECT_HOME) or `memory` (this process only).",
    )
    token_store_path: Path | None = Field(
        default=None, description="The folder of the file store; by default `atomic/tokens` under PREFECT_HOME."
    )
    token_request_timeout: float = Field(
        default=30.0, gt=0, description="The longest that a token request may take, all its steps together."
    )
    token_lease: float = Field(
        default=60.0, gt=0, description="The longest that others wait for the process that asks for a token."
    )

    @field_validator("token_store")
    @classmethod
    def _is_a_store_we_have(cls, store: SecretStr) -> SecretStr:
        if store.get_secret_value() not in ("file", "memory"):  # secret: a store's URL may hold a password
            raise ValueError("PREFECT_ATOMIC_TOKEN_STORE is `file` or `memory`")
        return store


@cache
def settings() -> AtomicSettings:
    """The settings of this process, read once; `settings.cache_clear()` has them read again."""
    return AtomicSettings()


def token_folder() -> Path:
    """The folder of the file store. It follows PREFECT_HOME, so two Prefect homes share no token."""
    return settings().token_store_path or get_current_settings().home / "atomic" / "tokens"
