"""The texts that several models are measured on: each is read once for models with the same vocabulary."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .options import Errors
from .output import log

if TYPE_CHECKING:
    from refrain.config import Data, TaggedData
    from refrain.data import Corpus, Split, TokenSource
    from refrain.data.tagged.corpus import TaggedCorpus, TaggedSplit
    from refrain.runs import SavedModel


class TextOptions(NamedTuple):
    """The options of a command that name a text and how it is read.

    Attributes:
        data: the text; None for the corpus of the run.
        split: the part of it; None for the test text of a run's corpus, or of a folder of splits.
        errors: what to do at invalid UTF-8.
        lowercase: whether it is converted to lower case.
        tokenise: whether words are parted from punctuation.
        skip_bad: whether tagged sentences with mistakes are left out.
        column: the column of the tags; None for that of the run.
        word_column: the column of the words; None for that of the run.
    """

    data: Path | None
    split: str | None
    errors: Errors = "strict"
    lowercase: bool = False
    tokenise: bool = False
    skip_bad: bool = False
    column: str | None = None
    word_column: str | None = None

    def of_language_models(self) -> dict[str, Any]:
        """The options that have an effect with language models alone, by their names on the command line."""
        return {"--lowercase": self.lowercase, "--tokenise": self.tokenise}

    def of_taggers(self) -> dict[str, Any]:
        """The options that have an effect with taggers alone, by their names on the command line."""
        return {"--skip-bad": self.skip_bad, "--column": self.column, "--word-column": self.word_column}


class Texts:
    """Reads the text of each model.

    Args:
        options: the text, and how it is read.
    """

    def __init__(self, options: TextOptions) -> None:
        self._options = options
        self._read: dict[str, Any] = {}

    def of(self, saved: "SavedModel") -> "tuple[Corpus, str]":
        """The text in the tokens of a language model, with the name of its split.

        Args:
            saved: the model.

        Raises:
            DataError: when the text is missing or damaged.
            UserError: when an option cannot take effect with the model.
        """
        from refrain.config import Data
        from refrain.data import vocabulary_from
        from refrain.data.units.protocol import fitted
        from refrain.errors import UserError

        data, split, errors, lowercase, tokenise, *_ = self._options
        settings = saved.experiment.data
        assert isinstance(settings, Data)
        if errors != "strict" and not settings.takes_effect("errors"):
            raise UserError(f"--errors cannot take effect with a model of {settings.unit}s")
        self._check_own(saved)
        changed = settings.model_copy(
            update={"errors": errors} if data is None else {"errors": errors, "corpus": str(data)}
        )
        document = saved.checkpoint.document("vocabulary")
        key = _digest(document, changed)
        if key not in self._read:
            vocabulary = fitted(vocabulary_from(document), lowercase=lowercase, tokenise=tokenise)
            self._read[key] = build(changed, vocabulary, split or ("test" if data is None else None))
        found: tuple[Corpus, str] = self._read[key]
        return found

    def tagged(self, saved: "SavedModel") -> "tuple[TaggedCorpus, str]":
        """The sentences for a tagger, as a corpus of one split, with the name of the split.

        Args:
            saved: the tagger.

        Raises:
            DataError: when the sentences are missing or have mistakes.
        """
        from refrain import assembly
        from refrain.assembly.tagged_corpus import build_tagged_text, log_notes
        from refrain.data.tagged.vocabulary import tag_vocabulary_from

        data, split, *_ = self._options
        settings = self._tagged_settings(saved)
        self._check_own(saved)
        document = saved.checkpoint.document("vocabulary")
        key = _digest(document, settings)
        if key not in self._read:
            path = assembly.locate(settings.corpus, log)
            vocabulary = tag_vocabulary_from(document)
            corpus = build_tagged_text(settings, path, (split or "test") if data is None else split, vocabulary)
            ((name, sentences),) = corpus.splits.items()
            log_notes(name, sentences, log)
            self._read[key] = (corpus, name)
        found: tuple[TaggedCorpus, str] = self._read[key]
        return found

    @property
    def are_given(self) -> bool:
        """Whether the user has named a text, in place of the corpus of each run."""
        return self._options.data is not None

    def concerns(self, saved: "SavedModel", part: "Split | TaggedSplit", split: str) -> list[str]:
        """Notes about a text that was read and the training text of the model; see `training_text_concerns`.

        Args:
            saved: the model.
            part: the text, as `of` or `tagged` has returned it for the model.
            split: the name of its split.
        """
        from .training_text import training_text_concerns

        return training_text_concerns(saved, part, split, own=self._options.data is None)

    def _check_own(self, saved: "SavedModel") -> None:
        """Check that the corpus of a run is there, where no other text is given."""
        from refrain.data.locating import check_still_there

        if self._options.data is None:
            check_still_there(saved.experiment.data.corpus, saved.path, ", or name a text with --data")

    def _tagged_settings(self, saved: "SavedModel") -> "TaggedData":
        from refrain.config import TaggedData

        from .data_tagged import tagged_settings

        data, errors = self._options.data, self._options.errors
        settings = saved.experiment.data
        assert isinstance(settings, TaggedData)
        skip_bad = self._options.skip_bad or (settings.skip_bad and data is None)
        changed: dict[str, Any] = {"errors": errors, "skip_bad": skip_bad}
        columns = {"column": self._options.column, "word_column": self._options.word_column}
        changed |= {name: value for name, value in columns.items() if value is not None}
        # other sentences are not dealt to the folds of a cross-validation
        changed |= {} if data is None else {"corpus": str(data), "folds": None, "fold": 1, "fold_seed": None}
        return tagged_settings(settings.model_dump() | changed)


def _digest(vocabulary: Any, settings: "Data | TaggedData") -> str:
    """The same for texts that are read alike."""
    from refrain.storage.plain_json import dumps

    read = dumps([vocabulary, settings.model_dump(mode="json", exclude={"vocabulary"})])
    return hashlib.sha256(read.encode()).hexdigest()


def training_texts(saved: "SavedModel", *, needed: bool) -> "dict[str, TokenSource]":
    """The texts that a language model was trained and validated on, by the name of the split.

    Args:
        saved: the model.
        needed: whether they are needed; otherwise nothing is read.
    """
    from refrain.config import Data
    from refrain.data import vocabulary_from
    from refrain.data.locating import check_still_there

    if not needed:
        return {}
    check_still_there(saved.experiment.data.corpus, saved.path)
    settings = saved.experiment.data
    assert isinstance(settings, Data)
    vocabulary = vocabulary_from(saved.checkpoint.document("vocabulary"))
    return {part: build(settings, vocabulary, part)[0].splits[part].tokens for part in ("train", "valid")}


def build(settings: "Data", vocabulary: Any, split: str | None) -> "tuple[Corpus, str]":
    """A text encoded with a vocabulary, and the name of its split.

    Args:
        settings: the settings of the text.
        vocabulary: the vocabulary.
        split: the part of the text; None for the test text, or a file as a whole.
    """
    from refrain import assembly

    return assembly.build_text(settings, assembly.locate(settings.corpus, log), split, vocabulary, log)
