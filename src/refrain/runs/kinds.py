"""The kinds of models that a run can train, each with what only its runs do, and the table of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from torch import nn

from refrain.assembly.corpus import build_corpus
from refrain.assembly.model import build_language_model
from refrain.assembly.tagger import build_tagged_corpus, build_tagger, build_tagger_task
from refrain.assembly.task import build_task
from refrain.config import AnyExperiment, Experiment, TaggerExperiment
from refrain.data import Corpus, TaggedCorpus
from refrain.errors import UserError
from refrain.models import LanguageModel, Tagger
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, Task

from .card import card
from .loading import config_document
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
    """Builds everything that a run trains with; `methods` are a user's own, by name."""

    def __call__(
        self,
        experiment: SettingsT_contra,
        corpus: CorpusT_contra,
        model: ModelT_contra,
        methods: Mapping[str, object] | None = None,
    ) -> Task: ...


@dataclass(frozen=True)
class Kind(Generic[SettingsT, CorpusT, ModelT]):
    """A kind of model. All functions take the experiment.

    Attributes:
        title: what it is called in messages.
        corpus: (experiment, say) -> its splits and vocabulary.
        model: (experiment, corpus) -> the network.
        document: (experiment, network) -> the content of `config.json`.
        task: (experiment, corpus, model, methods) -> everything that a run trains with.
        describe: (experiment, corpus, model, run) -> lines that are printed before it.
        summarise: (experiment, corpus, model, run, position) -> the final figures.
        card: (summary, experiment, manifest) -> the README of the run.
    """

    title: str
    corpus: Callable[[SettingsT, Callable[[str], None]], CorpusT]
    model: Callable[[SettingsT, CorpusT], ModelT]
    document: Callable[[SettingsT, ModelT], dict[str, Any]]
    task: BuildTask[SettingsT, CorpusT, ModelT]
    describe: Callable[[SettingsT, CorpusT, ModelT, RunFolder], list[str]]
    summarise: Callable[[SettingsT, CorpusT, ModelT, RunFolder, Position], dict[str, Any]]
    card: Callable[[dict[str, Any], SettingsT, dict[str, Any]], str]


LANGUAGE_MODEL = Kind[Experiment, Corpus, LanguageModel](
    title="a language model",
    corpus=lambda experiment, say: build_corpus(experiment.data, say),
    model=lambda experiment, corpus: build_language_model(experiment, corpus.vocabulary),
    document=lambda experiment, network: config_document(experiment),
    task=build_task,
    describe=describe,
    summarise=summarise,
    card=card,
)
TAGGER = Kind[TaggerExperiment, TaggedCorpus, Tagger](
    title="a tagger",
    corpus=lambda experiment, say: build_tagged_corpus(experiment.data, experiment.training.unknown_rate, say),
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
"""The kind of model by the type of its settings: a kind is registered by one line here."""


def kind_of(experiment: AnyExperiment, own: OwnNetwork | None = None) -> Kind[Any, Any, Any]:
    """The kind of model of an experiment.

    Args:
        experiment: the settings.
        own: the user's network, which takes the place of the one that the settings of the model describe.
    """
    given: Any = experiment
    kind = KINDS.get(type(given))
    if kind is None:
        found = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
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
