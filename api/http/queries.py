"""Queries of lists: what may be asked, and what is told where it may not."""

from __future__ import annotations

from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validate
from pydantic_core import PydanticCustomError
from werkzeug.datastructures import MultiDict

from api.http.field_errors import invalid
from jobs.errors import InvalidRequest
from jobs.feed import CURSOR, START
from jobs.job import Status

Q = TypeVar("Q", bound=BaseModel)
MOST_IDS = 100


class Query(BaseModel):
    """The arguments of a list: those that are known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobsQuery(Query):
    """Which jobs to list: by ids, or newest first by status and group."""

    status: Status | None = None
    group: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    ids: Annotated[str, StringConstraints(min_length=1, max_length=50 * MOST_IDS)] | None = None
    limit: int = Field(default=50, ge=1, le=200)
    after: str | None = None

    @validate(mode="after")
    def _either_ids_or_filters(self) -> Self:
        if self.ids is not None and self.model_fields_set != {"ids"}:
            raise PydanticCustomError("conflicting_fields", "send ids alone, or filters")
        if len(self.id_list) > MOST_IDS:
            raise PydanticCustomError("too_many_ids", f"send at most {MOST_IDS} ids")
        return self

    @property
    def id_list(self) -> list[str]:
        """The ids that were asked for."""
        return list(dict.fromkeys((self.ids or "").split(","))) if self.ids else []


class GroupQuery(Query):
    """Which jobs of a group to stop: all, or those behind a cursor."""

    after: str | None = None


class KeysQuery(Query):
    """Which keys to list."""

    tenant: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    after: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class TenantsQuery(Query):
    """Which tenants to list: those behind a name."""

    after: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class EventsQuery(Query):
    """Which events to show: those behind a cursor."""

    after: Annotated[str, StringConstraints(pattern=CURSOR)] = START
    limit: int = Field(default=200, ge=1, le=1000)


def read_query(kind: type[Q], arguments: MultiDict[str, str]) -> Q:
    """Return the query that a request's arguments make; raises InvalidRequest."""
    for name, values in arguments.lists():
        if len(values) > 1:
            raise InvalidRequest(f"send {name} once", code="invalid_field", param=name)
    try:
        return kind.model_validate(arguments.to_dict())
    except ValidationError as error:
        raise invalid(error) from None
