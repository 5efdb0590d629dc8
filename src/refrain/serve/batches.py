"""The batches that the model thread computes: steps, windows, lines and sentences of many programs together."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch

from refrain.evaluation.score import nats_of_lines

from .jobs import Job
from .served import MOST_SEQUENCES, ServedModel
from .turns import taking_turns
from .work import Call, Lines, Part, Sentences, Step, Stepped, Steps, Window

# tokens of a window between two steps, and of lines that are scored together; sentences that are tagged together, and
# their words with those that fill them up to one length
WINDOW_STEPS = 128
LINE_TOKENS = 4096
SENTENCES = 64
SENTENCE_WORDS = 1024


def compute_steps(model: ServedModel, jobs: list[Job]) -> list[Any]:
    """Compute one step for as many of the programs as fit in a batch.

    Args:
        model: the model of all steps.
        jobs: the programs, each of which waits for `Steps`.

    Returns:
        The results of the first programs.
    """
    steps: list[Step] = []
    counts = []
    hold = cast(Steps, jobs[0].requested).hold
    for job in jobs:
        requested = cast(Steps, job.requested)
        # what is held is held in all sequences of a batch
        if steps and (hold or requested.hold or len(steps) + len(requested.steps) > MOST_SEQUENCES):
            break
        steps += requested.steps
        counts.append(len(requested.steps))
    rows, state = model.step([step.token_id for step in steps], [step.state for step in steps], hold)
    best = model.best(rows, [step.candidates for step in steps])
    found = map(Stepped, rows.cpu(), model.states.add(state, len(steps)), best)
    return [[next(found) for _ in range(count)] for count in counts]


def compute_windows(model: ServedModel, jobs: list[Job]) -> list[Any]:
    """Read the next tokens of several windows, as many as the shortest of them has.

    Args:
        model: the model of all windows.
        jobs: the programs, each of which waits for a `Window`. Those whose windows have ended are moved to the front;
            the others wait for what remains of theirs.

    Returns:
        The results of the first programs, whose windows have ended.
    """
    some, rest = jobs[:MOST_SEQUENCES], jobs[MOST_SEQUENCES:]
    windows = [cast(Window, job.requested) for job in some]
    size = min(WINDOW_STEPS, *(len(window.ids) for window in windows))
    ids = torch.tensor([window.ids[:size] for window in windows], device=model.stepper.device).T
    state = model.stepper.read(ids, model.states.gather([window.state for window in windows]))
    ended, continued, results = [], [], []
    for job, window, after in zip(some, windows, model.states.add(state, len(some)), strict=True):
        if len(window.ids) == size:
            ended.append(job)
            results.append(after)
        else:
            job.requested = window._replace(ids=window.ids[size:], state=after)
            continued.append(job)
    jobs[:] = [*ended, *continued, *rest]
    return results


def compute_longer(jobs: list[Job], between: Callable[[], None]) -> list[Any]:
    """Compute a part that takes long.

    Args:
        jobs: programs whose parts `gathered` has found to be computed together.
        between: called between the steps of the part.

    Returns:
        The result of each program.
    """
    first = jobs[0].requested
    if isinstance(first, Call):
        return [first.function(between)]
    if isinstance(first, Lines):
        groups: list[list[Any]] = [cast(Lines, job.requested).encoded for job in jobs]
        stepper = taking_turns(first.model.stepper, between)
        found: list[Any] = nats_of_lines(stepper, first.model.vocabulary, [ids for group in groups for ids in group])
    else:
        tagger = cast(Sentences, first).model.trained
        groups = [cast(Sentences, job.requested).sentences for job in jobs]
        every = [words for group in groups for words in group]
        found = []
        for some in _batches_of(every):
            between()
            found += tagger.tag_with_probabilities(some)
    results = iter(found)
    return [[next(results) for _ in group] for group in groups]


def _batches_of(sentences: list[list[str]]) -> Iterator[list[list[str]]]:
    """Divide sentences into batches of at most `SENTENCES`, whose padded size is at most `SENTENCE_WORDS` words."""
    batch: list[list[str]] = []
    longest = 0
    for sentence in sentences:
        longest = max(longest, len(sentence))
        if batch and (len(batch) == SENTENCES or (len(batch) + 1) * longest > SENTENCE_WORDS):
            yield batch
            batch, longest = [], len(sentence)
        batch.append(sentence)
    if batch:
        yield batch


def gathered(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Divide programs that wait for long parts into those that are computed with the first, and the others.

    Args:
        jobs: the programs, at least one.
    """
    first = jobs[0].requested
    if isinstance(first, Call):
        return jobs[:1], jobs[1:]
    together: list[Job] = []
    rest: list[Job] = []
    size = 0
    for job in jobs:
        requested = job.requested
        same = type(requested) is type(first) and getattr(requested, "model", None) is getattr(first, "model", None)
        own = _size(requested)
        if same and (not together or size + own <= LINE_TOKENS):
            together.append(job)
            size += own
        else:
            rest.append(job)
    return together, rest


def _size(requested: Part | None) -> int:
    parts: list[Any] = []
    if isinstance(requested, Lines):
        parts = requested.encoded
    elif isinstance(requested, Sentences):
        parts = requested.sentences
    return sum(map(len, parts))
