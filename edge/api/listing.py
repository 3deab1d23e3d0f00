"""Lists: given out in pages that stay right while rows come and go, with an ETag for each page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Header, Query, Request, Response

from edge.api.quick import NO_CACHE, Rendered, tag_of, to_json

Row = dict[str, Any]
SAME: dict[int | str, dict[str, Any]] = {304: {"description": "nothing changed since the answer with this ETag"}}
IfNoneMatch = Annotated[str | None, Header(description="ETag of the answer that one has")]


class Page:
    """What a list's route was asked for. The header Link names the next page."""

    def __init__(self, path: str, limit: int, after: str, if_none_match: str | None) -> None:
        self._path, self._limit, self._after, self._has = path, limit, after, if_none_match

    def of(self, rows: Iterable[Row], place: Callable[[Row], str]) -> Response:
        """Rows in the order of their places, which are unique; a place that is gone is no obstacle."""
        wanted = sorted((row for row in rows if place(row) > self._after), key=place)
        more = NO_CACHE
        if len(wanted) > self._limit:
            query = urlencode({"limit": self._limit, "after": place(wanted[self._limit - 1])})
            more = (*NO_CACHE, ("link", f'<{self._path}?{query}>; rel="next"'))
        body = to_json(wanted[: self._limit])
        return Rendered(body, tag_of(body), more=more).response(self._has)


async def _page(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[str, Query(description="where the page before ended; Link has it", max_length=120)] = "",
    if_none_match: IfNoneMatch = None,
) -> Page:
    return Page(request.url.path, limit, after, if_none_match)


Paged = Annotated[Page, Depends(_page)]


def whole(document: Any, if_none_match: str | None) -> Response:
    """One document, or 304 where the asker has it."""
    body = to_json(document)
    return Rendered(body, tag_of(body)).response(if_none_match)
