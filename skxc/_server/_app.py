"""The routes: the page, predictions, explanations, and what Annif asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import skxc

from ._batching import Batcher
from ._guard import Bodies, HostGuard, check_origin, content_type, encoded, refusal, reply
from ._limits import (
    MAX_CHARACTERS_EXPLAINED,
    MAX_K,
    MAX_K_EXPLAINED,
    MAX_LABELS,
    Limits,
    RefusalError,
)
from ._model import Best, ModelWatch, Served
from ._page import page
from ._requests import Question, Suggestion, explanation, prediction, suggestion

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

_PROJECT = "skxc"  # the one that Annif's clients see
_logger = logging.getLogger("skxc")


def make_app(watch: ModelWatch, limits: Limits, bodies: Bodies, own_host: str | None) -> Starlette:
    """The application.

    Parameters
    ----------
    watch : ModelWatch
        Has the model.
    limits : Limits
        Of requests.
    bodies : Bodies
        What of requests and answers is in memory.
    own_host : str or None
        The name under which this machine alone asks; None: anybody may, under any name.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Route

    answers = _Answers(watch, limits, bodies)
    project = f"/v1/projects/{_PROJECT}"
    app = Starlette(
        routes=[
            Route("/", answers.page),
            Route("/health", answers.health),
            Route("/predict", _refusing(answers.predict), methods=["POST"]),
            Route("/explain", _refusing(answers.explain), methods=["POST"]),
            Route("/v1/projects", answers.projects),
            Route(project, answers.project),
            Route(f"{project}/suggest", _refusing(answers.suggest), methods=["POST"]),
        ],
        middleware=[] if own_host is None else [Middleware(HostGuard, host=own_host)],
        exception_handlers={404: _not_found, 405: _not_allowed},
        lifespan=answers.lifespan,
    )
    app.router.redirect_slashes = False  # to where the header Host says
    return app


class _Answers:
    """One method a route."""

    def __init__(self, watch: ModelWatch, limits: Limits, bodies: Bodies) -> None:
        self._watch, self._limits, self._bodies = watch, limits, bodies
        self._batcher = Batcher(lambda: watch.current, limits.max_waiting)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """The threads, while the server runs."""
        self._batcher.start()
        self._watch.start()
        yield
        self._watch.stop()
        self._batcher.stop()

    async def page(self, _: Request) -> Response:
        content, headers = page()
        return reply(content, headers=headers, media_type="text/html")

    async def health(self, _: Request) -> Response:
        served = self._watch.current
        return reply(
            {
                "status": "ready",
                "class": type(served.clf).__name__,
                "labels": served.clf.n_labels_,
                "model": served.digest,
                "written": served.written_at.isoformat(),
                "loaded": served.loaded_at.isoformat(),
                "problem": self._watch.problem,
                "waiting": self._batcher.n_waiting,
                "limits": asdict(self._limits)
                | {
                    "max_k": MAX_K,
                    "max_labels": MAX_LABELS,
                    "max_k_explained": MAX_K_EXPLAINED,
                    "max_characters_explained": MAX_CHARACTERS_EXPLAINED,
                },
                "skxc": skxc.__version__,
            }
        )

    async def predict(self, request: Request) -> ASGIApp:
        async with self._bodies.read(request) as body:
            question = prediction(body, content_type(request), self._limits)
            return await self._answer(request, question, _predicted)

    async def explain(self, request: Request) -> ASGIApp:
        async with self._bodies.read(request) as body:
            question = explanation(body, content_type(request), self._limits)
            return await self._answer(request, question, _explained)

    # ------------------------------------------------------------------------------------ Annif's
    async def projects(self, _: Request) -> Response:
        return reply({"projects": [self._described(self._watch.current)]})

    async def project(self, _: Request) -> Response:
        return reply(self._described(self._watch.current))

    def _described(self, served: Served) -> dict[str, Any]:
        return {
            "project_id": _PROJECT,
            "name": f"skxc, {type(served.clf).__name__}",
            "language": "und",  # undetermined, in ISO 639
            "backend": {"backend_id": "skxc"},
            "is_trained": True,
            "modification_time": served.written_at.isoformat(),
        }

    async def suggest(self, request: Request) -> ASGIApp:
        check_origin(request)
        async with self._bodies.read(request) as body:
            asked = suggestion(body, content_type(request), self._limits)
            if not asked.text.strip():  # Annif's own backends suggest nothing for it
                return reply({"results": []})
            question = Question([asked.text], asked.limit)
            return await self._answer(request, question, partial(_suggested, asked))

    # ------------------------------------------------------------------------------------- pieces
    async def _answer(
        self, request: Request, question: Question, written: Callable[[Served, Any], bytes]
    ) -> ASGIApp:
        """The model's answer, as long as somebody waits for it, and not for ever."""
        job = self._batcher.put(question, written)
        gone = asyncio.ensure_future(request.receive())  # after the body, that the client left
        waited_for: set[asyncio.Future[Any]] = {job.future, gone}
        seconds = self._limits.max_seconds
        try:
            await asyncio.wait(waited_for, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if job.future.done():
                return self._bodies.counted(reply(job.future.result()))
            if gone.done():
                raise RefusalError(499, "The client has left.")
            raise RefusalError(
                504,
                f"There was no answer within {seconds} s. Send fewer or shorter "
                f"texts, or try again later.",
                {"Retry-After": "1"},
            )
        finally:
            gone.cancel()
            self._batcher.drop(job)


# ---------------------------------------------------------- answers' bytes, in the model's thread
def _predicted(served: Served, best: Sequence[Best]) -> bytes:
    results = ({"labels": served.names(found.indices), "proba": found.proba} for found in best)
    return _with_list("results", results, {"model": served.digest})


def _explained(served: Served, found: Mapping[str, Any]) -> bytes:
    rest = {name: value for name, value in found.items() if name != "labels"}
    return _with_list("labels", found["labels"], rest | {"model": served.digest})


def _suggested(asked: Suggestion, served: Served, best: Sequence[Best]) -> bytes:
    ((indices, proba),) = best
    found = zip(served.clf.classes_[indices].tolist(), served.names(indices), proba, strict=True)
    results = [
        {"uri": _uri(name, text), "label": str(text), "notation": None, "score": score}
        for name, text, score in found
        if score >= asked.threshold
    ]
    return encoded({"results": results})


def _with_list(name: str, items: Iterable[Any], rest: Mapping[str, Any]) -> bytes:
    """A JSON object of which one list may be long.

    It is encoded item by item: no other thread runs while json.dumps does.
    """
    listed = b", ".join(map(encoded, items))
    return b'{"%s": [%s], %s' % (name.encode(), listed, encoded(rest).removeprefix(b"{"))


def _uri(name: Any, text: Any) -> str:
    """A class, or the text of one that is only a number, without a URI's brackets."""
    uri = name if isinstance(name, str) else str(text)
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def _refusing(
    respond: Callable[[Request], Awaitable[ASGIApp]],
) -> Callable[[Request], Awaitable[ASGIApp]]:
    """The route, whose errors are answers in words."""

    async def answered(request: Request) -> ASGIApp:
        from starlette.requests import ClientDisconnect

        try:
            return await respond(request)
        except RefusalError as error:
            return refusal(error.status, str(error), error.headers)
        except ClientDisconnect:
            return refusal(499, "The client has left.")
        except Exception:
            _logger.exception("a request failed")
            return refusal(500, "The model failed at this request. The server's log says why.")

    return answered


async def _not_found(request: Request, _: Exception) -> Response:
    return refusal(
        404,
        f"{request.url.path!r:.200} is not here. There are /, /health, /predict, /explain and "
        f"/v1/projects/{_PROJECT}/suggest.",
    )


async def _not_allowed(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    return refusal(
        405,
        f"{request.method} is not possible at {request.url.path}. Use {headers.get('Allow')}.",
        headers,
    )
