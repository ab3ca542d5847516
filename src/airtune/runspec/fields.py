"""The kinds of values that settings have. Strict: true is no 1, "3" is no 3, and 512.0 is no integer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

AUTO: Final = "auto"
"""As a value of any setting: the same as leaving it out."""

LARGEST: Final = 2_147_483_647
"""No count of steps, tokens or samples is larger; what computes with them may rely on it."""


class OrAuto:
    """Marks a setting that may also be ``"auto"``: then its value is None, as if it had been left out."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """The inner schema, with ``"auto"`` read as None and null refused."""

        def read(value: Any, inner: Callable[[Any], Any]) -> Any:
            if value is None:
                raise PydanticCustomError("null", "is null")
            return None if isinstance(value, str) and value == AUTO else inner(value)

        return core_schema.no_info_wrap_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The inner schema or the constant ``"auto"``."""
        inner = handler(schema)
        kinds = [kind for kind in inner.get("anyOf", [inner]) if kind.get("type") != "null"]
        return {"anyOf": [*kinds, {"const": AUTO}]}


Count = Annotated[Annotated[int, Field(ge=1, le=LARGEST)] | None, OrAuto()]
CountOrZero = Annotated[Annotated[int, Field(ge=0, le=LARGEST)] | None, OrAuto()]
Seed = Annotated[Annotated[int, Field(ge=0, le=4_294_967_295)] | None, OrAuto()]
Positive = Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, OrAuto()]
PositiveOrZero = Annotated[Annotated[float, Field(ge=0, le=1e9)] | None, OrAuto()]
Share = Annotated[Annotated[float, Field(ge=0, lt=1)] | None, OrAuto()]
Switch = Annotated[bool | None, OrAuto()]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class PlatformObject(BaseModel):
    """An object of the platform's: keys that are not known here are let through, and kept in the raw JSON."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", allow_inf_nan=False, alias_generator=to_camel, populate_by_name=False
    )


class OwnObject(BaseModel):
    """An object named ``airtune``: its keys are all ours, so an unknown one is a mistake."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, alias_generator=to_camel, populate_by_name=False
    )
