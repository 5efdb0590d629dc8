"""The kinds of models that a run can train: language models and taggers, each with the functions of its runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from torch import nn

from refrain.assembly.corpus import build_corpus
from refrain.assembly.model import build_language_model
from refrain.assembly.tagged_corpus import build_tagged_corpus
from refrain.assembly.tagger import build_tagger, build_tagger_task
from refrain.assembly.task import build_task
from refrain.config import AnyExperiment, Experiment, TaggerExperiment
from refrain.data import Corpus, TaggedCorpus
from refrain.errors import UserError, shown
from refrain.models import LanguageModel, Tagger
from refrain.parallel import Ranks
from refrain.progress import Track
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, Task

from .card import card
from .config_document import config_document
from .own_network import OwnNetwork, make_network, names_of
from .summary import describe, summarise
from .tagger_summary import describe_tagger, summarise_tagger, tagger_card

AnyCorpus = Corpus | TaggedCorpus

SettingsT = TypeVar("SettingsT", bound=AnyExperiment)
SettingsT_contra = TypeVar("SettingsT_contra", bound=AnyExperiment, contravariant=True)
CorpusT = TypeVar("CorpusT", bound=AnyCorpus)
CorpusT_contra = TypeVar("CorpusT_contra", bound=AnyCorpus, contravariant=True)
ModelT = TypeVar("ModelT", bound=nn.Module)
ModelT_contra = TypeVar("ModelT_contra", bound=nn.Module, contravariant=True)


class BuildTask(Protocol[SettingsT_contra, CorpusT_contra, ModelT_contra]):
    """Builds the training task of a run; `methods` are given by the user, by name."""

    def __call__(
        self,
        experiment: SettingsT_contra,
        corpus: CorpusT_contra,
        model: ModelT_contra,
        methods: Mapping[str, object] | None = None,
    ) -> Task: ...


@dataclass(frozen=True)
class Kind(Generic[SettingsT, CorpusT, ModelT]):
    """A kind of model, as the functions that differ between kinds.

    Attributes:
        title: the name of the kind in messages.
        corpus: (experiment, log) -> the corpus.
        model: (experiment, corpus) -> the network.
        document: (experiment, network) -> the content of `config.json`.
        task: (experiment, corpus, model, methods) -> the training task.
        describe: (experiment, corpus, model, run) -> lines of text that are printed before training.
        summarise: (experiment, corpus, model, run, position, track, ranks) -> the content of `summary.json`; `track`
            reports loops.
        card: (summary, experiment, manifest) -> the README of the run.
    """

    title: str
    corpus: Callable[[SettingsT, Callable[[str], None]], CorpusT]
    model: Callable[[SettingsT, CorpusT], ModelT]
    document: Callable[[SettingsT, ModelT], dict[str, Any]]
    task: BuildTask[SettingsT, CorpusT, ModelT]
    describe: Callable[[SettingsT, CorpusT, ModelT, RunFolder], list[str]]
    summarise: Callable[[SettingsT, CorpusT, ModelT, RunFolder, Position, Track, Ranks], dict[str, Any]]
    card: Callable[[dict[str, Any], SettingsT, dict[str, Any]], str]


LANGUAGE_MODEL = Kind[Experiment, Corpus, LanguageModel](
    title="a language model",
    corpus=lambda experiment, log: build_corpus(experiment.data, log),
    model=lambda experiment, corpus: build_language_model(experiment, corpus.vocabulary),
    document=lambda experiment, network: config_document(experiment),
    task=build_task,
    describe=describe,
    summarise=summarise,
    card=card,
)
TAGGER = Kind[TaggerExperiment, TaggedCorpus, Tagger](
    title="a tagger",
    corpus=lambda experiment, log: build_tagged_corpus(experiment.data, experiment.training.unknown_rate, log),
    model=lambda experiment, corpus: build_tagger(experiment.model, corpus.vocabulary),
    document=lambda experiment, network: config_document(experiment),
    task=build_tagger_task,
    describe=describe_tagger,
    summarise=summarise_tagger,
    card=tagger_card,
)

KINDS: dict[type[AnyExperiment], Kind[Any, Any, Any]] = {
    Experiment: LANGUAGE_MODEL,
    TaggerExperiment: TAGGER,
}
"""Type of the settings -> kind of model. A new kind is registered by a line here."""


def kind_of(experiment: AnyExperiment, own: OwnNetwork | None = None) -> Kind[Any, Any, Any]:
    """The kind of model of an experiment.

    Args:
        experiment: the settings of the run.
        own: a network given by the user, which replaces the network that the settings describe.
    """
    given: Any = experiment
    kind = KINDS.get(type(given))
    if kind is None:
        found = shown(given) if isinstance(given, str) else f"a {type(given).__name__}"
        raise UserError(f"experiment: must be an Experiment, such as refrain.recipe('quickstart') (got {found})")
    if own is None:
        return kind
    return replace(
        kind,
        model=lambda experiment, corpus: make_network(own, experiment, corpus.vocabulary),
        document=lambda experiment, network: config_document(experiment, names_of(own, network)),
        describe=partial(describe, own=True),
        summarise=partial(summarise, own=True),
    )
