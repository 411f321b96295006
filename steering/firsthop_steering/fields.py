"""What every noun of a plan is made of: a frozen value, its state, weights, ports and wire ids.

Apart from `model`, so that a relay reads its route table without names, records and zones.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Weight = Annotated[
    int,
    Field(ge=0, le=100, description="Per cent of those who reach it that it keeps; 0 drains."),
]
Port = Annotated[int, Field(ge=1, le=65535)]
WireId = Annotated[
    int, Field(ge=1, le=65535, description="16-bit id inside credentials; never reused.")
]


class State(StrEnum):
    """What the operator wants; what is measured stands in the status."""

    ACTIVE = "active"
    DRAINING = "draining"
    DISABLED = "disabled"


class Model(BaseModel):
    """A frozen value; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
