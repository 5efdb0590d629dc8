"""The command `refrain serve`."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .options import Device, DeviceOption, Flag, JsonOption, LowercaseOption, TokeniseOption, Weights, WeightsOption
from .serve_options import check_stdio

if TYPE_CHECKING:
    from refrain.progress import Reporter
    from refrain.runs import SavedModel
    from refrain.serve import Models, Service

TOKEN = "REFRAIN_TOKEN"
READ_BYTES = 1 << 16


class Named(NamedTuple):
    """A run with the name by which requests choose it."""

    name: str
    saved: "SavedModel"


def serve(
    run: str,
    /,
    *more: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    stdio: Flag = False,
    max_body_bytes: int = 1 << 20,
    max_characters: int = 100_000,
    max_texts: int = 1000,
    max_tokens: int = 2000,
    max_samples: int = 64,
    max_candidates: int = 100,
    max_rows: int = 200_000,
    max_sessions: int = 1000,
    max_waiting: int = 1000,
    idle_seconds: float = 900,
    request_seconds: float = 60,
    stop_seconds: float = 10,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    json: JsonOption = False,
) -> None:
    """Answer requests for scores, next words, generated text and tags, over HTTP or standard input.

    The server listens on this machine alone, unless --host names another address, which needs a token. Steps of many
    clients are computed in one batch. /openapi.json describes every operation, and docs/serving.md shows them. SIGTERM
    or Ctrl-C stops the server once it has finished what it has begun. Needs the extra `serve`, except with --stdio.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints; or NAME=RUN, since a model otherwise has the name of its folder.
    more
        Further runs.
    host
        The name or address to listen at.
    port
        The port; 0 chooses a free one.
    token
        What requests have to send as Authorization: Bearer TOKEN. It can also be given in the environment variable
        REFRAIN_TOKEN, where other users of the machine do not see it.
    stdio
        Read a request in JSON from each line of standard input, and write the answers to standard output.
    max_body_bytes
        The size of a request.
    max_characters
        The length of all texts of a request together.
    max_texts
        The number of texts of a request.
    max_tokens
        The number of tokens that a request may draw for each sample.
    max_samples
        The number of samples of a request, of all its prompts together.
    max_candidates
        The number of candidates for the next token.
    max_rows
        The number of tokens, candidates beside them and values of units in the answer of a request.
    max_sessions
        The number of open sessions.
    max_waiting
        The number of requests in work at a time.
    idle_seconds
        The time without a request after which a session is closed.
    request_seconds
        The time that a request may take.
    stop_seconds
        The time that requests in work have to finish when the server stops.
    """
    from refrain.serve.limits import Limits

    limits = Limits(
        body_bytes=max_body_bytes,
        characters=max_characters,
        texts=max_texts,
        tokens=max_tokens,
        samples=max_samples,
        candidates=max_candidates,
        rows=max_rows,
        sessions=max_sessions,
        waiting=max_waiting,
        idle_seconds=idle_seconds,
        request_seconds=request_seconds,
        stop_seconds=stop_seconds,
    )
    _check(limits)
    if stdio:
        check_stdio(json, host, port, token)
    named = _named([run, *more])
    if stdio:
        _check_input()
        _serve_lines(_service(named, limits, device, weights, lowercase, tokenise))
        return
    token = (os.environ.get(TOKEN) or None) if token is None else token
    check_packages()

    from refrain.serve.starting import check_token, listen

    check_token(host, token)
    with listen(host, port) as opened:
        service = _service(named, limits, device, weights, lowercase, tokenise)
        _serve_http(service, opened, host, token, json=json)


def _check(limits: object) -> None:
    """Check the limits.

    Raises:
        UserError: when one is not positive.
    """
    from dataclasses import asdict

    from refrain.errors import UserError

    for name, value in asdict(limits).items():  # type: ignore[call-overload]
        option = f"--{name}" if name.endswith("_seconds") else f"--max-{name}"
        least = 0 if name == "stop_seconds" else 1
        # this is false for what is not a number as well
        if not least <= value < float("inf"):
            raise UserError(f"{option.replace('_', '-')} must be at least {least} (got {value})")


def _named(words: Sequence[str]) -> list[Named]:
    """Find the runs, which imports no torch.

    Raises:
        CheckpointError: when one is missing or damaged.
        UserError: when two have the same name.
    """
    from refrain import runs
    from refrain.errors import UserError
    from refrain.runs.own_names import check_given

    named: list[Named] = []
    for word in words:
        match = re.fullmatch(r"([\w.-]+)=(.+)", word)
        # the text, since `Path` would drop the `./` that tells a folder from the name of a model
        name, text = (match[1], match[2]) if match and not Path(word).exists() else ("", word)
        saved, path = runs.find(text), Path(text)
        check_given(saved.document, None, saved.path)
        # `.` has no name
        name = name or re.sub(r"[^\w.-]", "-", path.name or path.resolve().name)
        if any(other.name == name for other in named):
            raise UserError(f"{word}: another run is named {name!r} too; give it a name, as in other={text}")
        named.append(Named(name, saved))
    return named


def check_packages() -> None:
    """Check that the packages for HTTP are installed.

    Raises:
        UserError: when they are not.
    """
    from importlib.util import find_spec

    from refrain.errors import UserError

    if missing := [name for name in ("starlette", "uvicorn", "httptools") if find_spec(name) is None]:
        raise UserError(
            f"refrain serve needs {' and '.join(missing)}; type: pip install 'refrain-lm[serve]', or use --stdio"
        )


def _check_input() -> None:
    """Check that there is a standard input.

    Raises:
        DataError: when it is closed.
    """
    from refrain.errors import DataError

    if sys.stdin is None:
        raise DataError("standard input is closed; give requests through a pipe, a line for each")


def _service(
    named: Sequence[Named], limits: object, device: Device, weights: Weights | None, lowercase: bool, tokenise: bool
) -> "Service":
    """Load the models."""
    from refrain.errors import UserError
    from refrain.progress import reporter

    if (lowercase or tokenise) and all(each.saved.is_tagger for each in named):
        option = "--lowercase" if lowercase else "--tokenise"
        raise UserError(f"{option} cannot take effect with taggers")
    reports = reporter()
    models = _models(named, reports, device, weights, lowercase, tokenise)

    from refrain.serve import Service

    return Service(models, limits)  # type: ignore[arg-type]


def _models(
    named: Sequence[Named],
    reports: "Reporter",
    device: Device,
    weights: Weights | None,
    lowercase: bool,
    tokenise: bool,
) -> "Models":
    from refrain.serve import Models, serve_model

    from .loading import load_language_model, load_tagger

    served = []
    for name, saved in named:
        if saved.is_tagger:
            served.append(serve_model(name, load_tagger(saved, reports, device=device, weights=weights)))
            continue
        lm = load_language_model(saved, reports, device=device, weights=weights, lowercase=lowercase, tokenise=tokenise)
        served.append(serve_model(name, lm))
    return Models(served)


def _serve_http(service: "Service", opened: object, host: str, token: str | None, *, json: bool) -> None:
    from refrain.serve import serve as run_server
    from refrain.serve.starting import url_of

    from .output import log, print_json, print_line

    url = url_of(opened)  # type: ignore[arg-type]

    def ready() -> None:
        if json:
            print_json({"url": url, "models": service.models.documents()})
        else:
            print_line(f"serving {', '.join(service.models.names())} at {url}")
            log("Ctrl-C stops the server")
            sys.stdout.flush()

    run_server(service, opened, host=host, token=token, ready=ready)  # type: ignore[arg-type]


def _serve_lines(service: "Service") -> None:
    import asyncio
    from functools import partial

    from refrain.serve import serve_lines

    from .streams import drop_output

    try:
        asyncio.run(serve_lines(service, _Input(), partial(print, flush=True)))
    except (KeyboardInterrupt, SystemExit):
        # each answer was written when it was there; what is left is one that a second signal has interrupted
        drop_output()
        raise


class _Input:
    """Standard input by lines. It is read without Python's buffer, whose lock a thread that waits would keep."""

    def __init__(self) -> None:
        self._handle = sys.stdin.fileno()
        self._rest = b""
        self._ended = False

    def readline(self, size: int = -1, /) -> bytes:
        """The next line, or its first `size` bytes; nothing at the end."""
        while not self._ended and b"\n" not in self._rest and not 0 <= size <= len(self._rest):
            read = os.read(self._handle, READ_BYTES)
            self._rest += read
            self._ended = not read
        end = self._rest.find(b"\n") + 1 or len(self._rest)
        end = min(end, size) if size >= 0 else end
        line, self._rest = self._rest[:end], self._rest[end:]
        return line
