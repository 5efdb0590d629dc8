"""The programs of requests that measure texts: scores, n-best lists, surprisal, tags and the values of units."""

from collections.abc import Callable
from typing import Any

from refrain.data.tagged.tokenise import sentences_of
from refrain.evaluation import Figure, surprisal_rows
from refrain.generation.units import state_parts
from refrain.trained.texts import words_of_sentences

from .fields import check_rows
from .limits import Limits
from .programs import finite, units_of
from .refused import Refused
from .requests import NBestRequest, ScoreRequest, SurprisalRequest, TagRequest, UnitsRequest
from .served import ServedModel, ServedTagger
from .turns import taking_turns
from .work import Call, Lines, Program, Sentences, Step, Steps


def scoring(model: ServedModel, request: ScoreRequest) -> Program:
    """Score texts, each line independently; see `TrainedLanguageModel.score`.

    Args:
        model: the model.
        request: the texts.
    """
    vocabulary = model.vocabulary
    texts = [text.removesuffix("\n").split("\n") for text in request.texts]
    encoded = [vocabulary.encode(f"{line}\n") for lines in texts for line in lines]
    nats = iter((yield Lines(model, encoded)))
    ids = iter(encoded)
    scores = []
    for lines in texts:
        own = [next(ids) for _ in lines]
        figure = Figure(sum(next(nats) for _ in lines), sum(map(len, own)))
        scores.append(
            {
                "nats": finite(figure.nats),
                "tokens": figure.tokens,
                "unknown": sum(vocabulary.count_unseen(*each) for each in zip(lines, own, strict=True)),
                "nats_per_token": finite(figure.nats_per_token),
                "perplexity": finite(figure.perplexity),
            }
        )
    return {"model": model.name, "scores": scores}


def choosing(model: ServedModel, request: NBestRequest) -> Program:
    """Score the hypotheses of n-best lists; see `refrain.evaluation.nbest`.

    Args:
        model: the model.
        request: the lists.
    """
    vocabulary = model.vocabulary
    texts = [each.text.replace("\n", " ") for nbest in request.lists for each in nbest.hypotheses]
    encoded = [vocabulary.encode(f"{text}\n") for text in texts]
    measured = iter(list(zip((yield Lines(model, encoded)), texts, encoded, strict=True)))
    lists = []
    for nbest in request.lists:
        rows, totals = [], []
        for hypothesis in nbest.hypotheses:
            nats, text, ids = next(measured)
            totals.append(hypothesis.score - request.lm_scale * nats)
            unknown = vocabulary.count_unseen(text, ids)
            rows.append({"nats": finite(nats), "tokens": len(ids), "unknown": unknown, "total": finite(totals[-1])})
        best = max(range(len(rows)), key=totals.__getitem__)
        lists.append({"id": nbest.id, "best": best, "text": nbest.hypotheses[best].text, "hypotheses": rows})
    return {"model": model.name, "lm_scale": request.lm_scale, "lists": lists}


def surprising(model: ServedModel, request: SurprisalRequest) -> Program:
    """The surprisal of the words of sentences; see `refrain.evaluation.surprisal`.

    Args:
        model: the model.
        request: the sentences.
    """

    def rows(between: Callable[[], None]) -> list[dict[str, Any]]:
        stepper = taking_turns(model.stepper, between)
        found = surprisal_rows(
            stepper, model.vocabulary, request.sentences, context=request.context, after=request.after
        )
        return [
            {name: finite(value) if isinstance(value, float) else value for name, value in row._asdict().items()}
            for row in found
        ]

    words = yield Call(rows)
    return {"model": model.name, "words": words}


def tagging(tagger: ServedTagger, request: TagRequest, most: int) -> Program:
    """Tag the words of a text or of sentences.

    Args:
        tagger: the tagger.
        request: the text or the sentences.
        most: the largest number of words of a sentence.

    Raises:
        Refused: when a sentence has more words.
    """
    if request.sentences is None:
        lines = (request.text or "").split("\n")

        def split(between: Callable[[], None]) -> list[list[str]]:
            return [[token.form for token in sentence] for sentence in sentences_of(lines, between)]

        sentences = yield Call(split)
        longest = max(map(len, sentences), default=0)
        if longest > most:
            raise Refused(
                422,
                f"text: a sentence may have at most {most:,} words (got {longest:,}); divide it by line ends, or start "
                "the server with a larger --max-texts",
                code="too_large",
                field="text",
            )
    else:
        sentences = words_of_sentences(request.sentences)
    tagged = yield Sentences(tagger, sentences)
    return {
        "model": tagger.name,
        "sentences": [
            [
                {"word": word, "tag": tag, "probability": probability if request.probabilities else None}
                for word, (tag, probability) in zip(words, tags, strict=True)
            ]
            for words, tags in zip(sentences, tagged, strict=True)
        ],
    }


def following_units(model: ServedModel, request: UnitsRequest, limits: Limits) -> Program:
    """The values of units after each token of a text, which is read after a line end.

    Args:
        model: the model.
        request: the text and the units.
        limits: the limits of the server.

    Raises:
        Refused: when the layer, a unit or the state does not exist, or the answer would be too long.
    """
    network, vocabulary = model.trained.model, model.vocabulary
    layer, part = units_of(model, request.layer, request.units, request.state, "units")
    ids = vocabulary.encode(request.text)
    check_rows(len(ids) * len(request.units), limits)
    values = []
    state = model.states.zero
    for index in [vocabulary.line_end, *ids]:
        (stepped,) = yield Steps(model, [Step(index, state)])
        state = stepped.state
        values.append(state_parts(network, layer, model.states.gather([state]))[part][0, request.units].tolist())
    tokens = [vocabulary.token(index) for index in ids]
    pieces = vocabulary.pieces(request.text) if ids else []
    return {
        "model": model.name,
        "units": request.units,
        "tokens": tokens,
        "pieces": pieces if len(pieces) == len(ids) else tokens,
        "values": values[1:],
    }
