"""YAML files that people review like code, read into a model that refuses what it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from goodsight.digests import sha256_json
from goodsight.errors import InputError


class Strict(BaseModel):
    """A part of such a file: an unknown key is an error, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def digest(self) -> str:
        """sha256 of what it says, comments and order of keys apart."""
        return sha256_json(self.model_dump(mode="json", by_alias=True))


class Reviewed(Strict):
    """A whole file. `WHAT` is what errors call it, `FILE` the one of this release."""

    WHAT: ClassVar[str]
    FILE: ClassVar[Path]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """What the YAML file says, by default that of this release. Raises `InputError` naming the key that is wrong."""
        place = path or cls.FILE
        try:
            text = place.read_text()
        except (OSError, ValueError) as error:
            raise InputError(f"{cls.WHAT} {place} cannot be read: {error}", f"Give a YAML file like {cls.FILE}.") from error
        return cls.parse(text, str(place))

    @classmethod
    def parse(cls, text: str, name: str = "given") -> Self:
        """What YAML `text` says, called `name` in errors. Raises `InputError` naming the key that is wrong."""
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise InputError(f"{cls.WHAT} {name} cannot be read: {error}", f"Give a YAML file like {cls.FILE}.") from error
        except ValidationError as error:
            wrong = error.errors()[0]
            key = ".".join(map(str, wrong["loc"])) or "the whole file"
            raise InputError(f"{cls.WHAT} {name} is wrong at {key}: {wrong['msg']}", f"Correct {key}.") from error
