"""The two kinds of runs, of a language model and of a tagger, and what differs between them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from refrain.assembly.corpus import build_corpus
from refrain.assembly.model import build_language_model
from refrain.assembly.tagger import build_tagged_corpus, build_tagger, build_tagger_task
from refrain.assembly.task import build_task
from refrain.config import AnyExperiment, TaggerExperiment
from refrain.data import Corpus, TaggedCorpus
from refrain.training import Task

from .card import card
from .loading import config_document
from .own_network import OwnNetwork, make_network, names_of
from .summary import describe, summarise
from .tagger_summary import describe_tagger, summarise_tagger, tagger_card

AnyCorpus = Corpus | TaggedCorpus


@dataclass(frozen=True)
class Kind:
    """What differs between the runs of a language model and of a tagger. All take the experiment first.

    Attributes:
        corpus: (experiment, say) -> its splits and vocabulary.
        model: (experiment, vocabulary) -> the network.
        document: (experiment, network) -> the content of `config.json`.
        task: (experiment, corpus, model, a user's methods by name or None) -> all that a run trains with.
        describe: (experiment, corpus, model, run) -> lines that are said before it.
        summarise: (experiment, corpus, model, run, position) -> the final figures.
        card: (summary, experiment, manifest) -> the README of the run.
    """

    corpus: Callable[..., Any]
    model: Callable[..., Any]
    document: Callable[..., dict[str, Any]]
    task: Callable[..., Task]
    describe: Callable[..., list[str]]
    summarise: Callable[..., dict[str, Any]]
    card: Callable[..., str]


def kind_of(experiment: AnyExperiment, own: OwnNetwork | None = None) -> Kind:
    """The kind of an experiment's run.

    Args:
        experiment: the settings.
        own: the user's network, which takes the place of the one that the settings of the model describe.
    """
    kind = TAGGER if isinstance(experiment, TaggerExperiment) else LANGUAGE_MODEL
    if own is None:
        return kind
    return replace(
        kind,
        model=partial(make_network, own),
        document=lambda experiment, network: config_document(experiment, names_of(own, network)),
        describe=partial(describe, own=True),
        summarise=partial(summarise, own=True),
    )


LANGUAGE_MODEL = Kind(
    corpus=lambda experiment, say: build_corpus(experiment.data, say),
    model=build_language_model,
    document=lambda experiment, network: config_document(experiment),
    task=build_task,
    describe=describe,
    summarise=summarise,
    card=card,
)
TAGGER = Kind(
    corpus=lambda experiment, say: build_tagged_corpus(experiment.data, experiment.training.unknown_rate, say),
    model=lambda experiment, vocabulary: build_tagger(experiment.model, vocabulary),
    document=lambda experiment, network: config_document(experiment),
    task=build_tagger_task,
    describe=describe_tagger,
    summarise=summarise_tagger,
    card=tagger_card,
)
