"""A block that guards what it holds: input is never quoted, strangers and masked secrets are refused."""

import json
from abc import ABC
from collections.abc import Container, Iterable
from typing import Any, ClassVar, Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, Secret, SecretStr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class GuardedBlock(Block, ABC):
    """What all blocks of this package have in common."""

    _noun: ClassVar[str] = "a block"
    """What such a block is called in a message."""

    # pydantic quotes the input it refuses, and the input is often a secret in the wrong place. It makes the validators
    # of the blocks that are used: those of all take as long as importing all the rest.
    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True)

    @classmethod
    def __dispatch_key__(cls) -> str | None:
        # The key is the slug. Prefect would make the whole JSON schema to find it, twice, for each class at import.
        return cls.get_block_type_slug()

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks_and_refuse_strangers(cls, values: Any) -> Any:
        if isinstance(values, str):  # the slug, where a flow's parameter is of the block's type
            raise ValueError(
                f'is text, not {cls._noun}: give a saved one as {{"$ref": {{"block_document_slug": "TYPE/NAME"}}}}'
            )
        if not isinstance(values, dict):
            return values
        kind = cls.model_fields["kind"].default if "kind" in cls.model_fields else None
        if kind and values.get("kind", kind) != kind:  # one line for each class that a union tried in vain
            raise ValueError(f"this is {cls._noun} of another kind than {kind}")
        if any(isinstance(value, str) and _is_mask(value) for value in values.values()):
            raise ValueError(_MASKED)  # before anything else is found wrong with it
        strangers = values.keys() - cls.model_fields.keys() - {"block_type_slug"}
        if strangers:  # Prefect keeps unknown fields, in the clear: a misspelt `session_token` would show its secret
            raise ValueError(
                f"{', '.join(sorted(strangers))}: no such field; is it misspelt, or from a newer prefect-atomic?"
            )
        # An empty field of a form means that nothing was entered; where a block could be chosen, the form sends {}.
        return {
            name: value
            for name, value in values.items()
            if not (value in ("", None, {}) and name in cls.model_fields and not cls.model_fields[name].is_required())
        }

    @model_validator(mode="after")
    def _refuse_masks(self) -> Self:
        if any(_is_mask(secret) for secret in self._own_secrets()):
            raise ValueError(_MASKED)
        return self

    def __init__(self, *args: Any, **fields: Any) -> None:
        try:
            super().__init__(*args, **fields)
        except ValidationError as error:
            raise _without_input(error) from None

    def title(self) -> str:
        """What to call it in a message: its class, and the name it is saved under."""
        name = self._block_document_name
        return f"{type(self).__name__} {name!r}" if name else type(self).__name__

    def identity(self, *, without: Container[str] = ()) -> tuple[object, ...]:
        """The values of all fields, secrets in the clear: what tells this block from every other; JSON scalars."""
        fields = type(self).model_fields
        return tuple(plain(getattr(self, name)) for name in fields if name not in without)

    def _own_secrets(self) -> Iterable[str]:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr | Secret):
                plain = value.get_secret_value()
                yield from (str(item) for item in plain.values()) if isinstance(plain, dict) else (plain,)


def plain(value: Any) -> str | int | float | None:
    """The value of a field as a JSON scalar, a secret in the clear."""
    if isinstance(value, _SECRETS):
        value = value.get_secret_value()
    if isinstance(value, GuardedBlock):
        return json.dumps([value.get_block_type_slug(), *value.identity()])
    if isinstance(value, _CONTAINERS):
        return json.dumps(value, sort_keys=True) if value else ""
    return value  # type: ignore[no-any-return]  # fields are scalars, secrets, blocks and JSON, nothing else


_SECRETS = (SecretStr, Secret)
_CONTAINERS = (dict, list)


def _without_input(error: ValidationError) -> ValidationError:
    """The same error without the input: its text hides that, but a flow run's persisted failure is a pickle."""
    lines: list[InitErrorDetails] = [
        {"type": PydanticCustomError(line["type"], line["msg"]), "loc": line["loc"], "input": None}
        for line in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


_MASKED = (
    "a secret consists of asterisks: Prefect masked it on the way here. Give the block as its slug, or as "
    '{"$ref": {"block_document_slug": "TYPE/NAME"}}'
)


def _is_mask(secret: str) -> bool:
    return len(secret) >= 8 and not secret.strip("*")
