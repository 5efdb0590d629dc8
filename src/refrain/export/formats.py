"""The formats of exported models, one entry each, and what they need. Nothing here imports torch."""

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

from refrain.arguments import check_choice, described, whole_of
from refrain.errors import UserError, nearest
from refrain.storage.output_checks import check_outputs

if TYPE_CHECKING:
    from refrain.nn.step_graph import StepGraph, TaggerGraph

    from .proof import Runner
    from .proof_of_scores import Scorer
    from .proof_of_tags import TagRunner
    from .recogniser_tokens import TokenIds

PROOF_TOKENS = 10_000

Weights = Literal["float32", "int8"]
Steps = Literal["many", "one"]


@dataclass(frozen=True)
class Options:
    """What is written.

    Attributes:
        weights: `float32`, or `int8` matrices with a scale for each row.
        steps: `many` for windows of any length, or `one` for a single step; of ONNX files.
        libm: whether C code calls the mathematical functions of the C library.
        metadata: name -> text, stored beside what the export makes; of ONNX files.
        tokens: the bytes of each token as it is printed, in the order of their ids; of C code. This one, `start` and
            `ids` are for those who call the function of a format; `refrain.export.export` takes them from the model.
        start: the id that a model reads before a text.
        ids: the model's token for each token of a speech recogniser; None where they are the same.
    """

    weights: Weights = "float32"
    steps: Steps = "many"
    libm: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[bytes, ...] = ()
    start: int = 0
    ids: "TokenIds | None" = None


class MakeRunner(Protocol):
    """Makes what runs an exported model."""

    def __call__(self) -> "Runner": ...


class Exported(NamedTuple):
    """An exported model that is not written yet.

    Attributes:
        files: name -> content; a format of a single file has the name "".
        runner: makes what runs the files.
        rounds_inputs: whether int8 weights are multiplied with inputs that are rounded as well.
    """

    files: Mapping[str, bytes]
    runner: MakeRunner
    rounds_inputs: bool = False


class ExportedScorer(NamedTuple):
    """An exported model that scores whole texts, and is not written yet.

    Attributes:
        files: name -> content; a format of a single file has the name "".
        scorer: makes what scores texts by the files.
        rounds_inputs: whether int8 weights are multiplied with inputs that are rounded as well.
    """

    files: Mapping[str, bytes]
    scorer: "Callable[[], Scorer]"
    rounds_inputs: bool = False


class ExportedTagger(NamedTuple):
    """An exported tagger that is not written yet.

    Attributes:
        files: name -> content; a format of a single file has the name "".
        runner: makes what runs the files.
    """

    files: Mapping[str, bytes]
    runner: "Callable[[], TagRunner]"


class ExportTagger(Protocol):
    """Translates a tagger into a format."""

    def __call__(self, graph: "TaggerGraph", options: Options) -> ExportedTagger: ...


class Export(Protocol):
    """Translates the step of a model into a format."""

    def __call__(self, graph: "StepGraph", options: Options) -> Exported | ExportedScorer: ...


class Format(NamedTuple):
    """A format.

    Attributes:
        module: of this package; it has a function `export`, an `Export`.
        files: the names of its files in a folder; empty for a format of a single file.
        options: which of `steps`, `libm` and `metadata` have an effect.
        recogniser: whether the tokens are those of a speech recogniser.
        whole_texts: whether a call scores whole texts.
        tagger_module: of this package, for taggers; it has a function `export`, an `ExportTagger`. Empty if the format
            cannot express them.
        packages: what it is written with: import name -> what pip installs.
        runtime: what an exported model is run with: the import name of a package, or "" for a C compiler.
    """

    module: str
    files: tuple[str, ...]
    options: tuple[str, ...]
    packages: Mapping[str, str]
    runtime: str
    recogniser: bool = False
    whole_texts: bool = False
    tagger_module: str = ""


ONNX = {"onnx": "'refrain-lm[export]'"}

FORMATS = {
    "onnx": Format("onnx_format", (), ("steps", "metadata"), ONNX, "onnxruntime", tagger_module="onnx_tagger"),
    "c": Format("c_format", ("model.h", "model.c", "main.c"), ("libm",), {}, ""),
    "sherpa-online": Format("sherpa_online", (), ("metadata",), ONNX, "onnxruntime", recogniser=True),
    "sherpa-offline": Format(
        "sherpa_offline", (), ("metadata",), ONNX, "onnxruntime", recogniser=True, whole_texts=True
    ),
}
"""Name -> format. A new format is a module with a function `export` and a line here."""


def check_format(name: str, options: Options, *, proof: bool, tokens: bool = False) -> Format:
    """Check that a format exists, that its options have an effect, and that all it needs is installed.

    Args:
        name: the format.
        options: what is written.
        proof: whether the exported model will be run.
        tokens: whether the table of a recogniser's tokens is given.

    Raises:
        UserError: when one of these is not so, or an option has a value that it cannot have.
    """
    _check_options(options)
    if name not in FORMATS:
        raise UserError(f"--format must be one of {', '.join(FORMATS)} (got {name!r}){nearest(name, FORMATS)}")
    made = FORMATS[name]
    default = Options()
    for option, words in (("steps", "--steps"), ("libm", "--no-libm"), ("metadata", "options.metadata")):
        if getattr(options, option) != getattr(default, option) and option not in made.options:
            raise UserError(f"{words} cannot take effect with --format {name}; leave it out")
    if tokens and not made.recogniser:
        raise UserError(f"--tokens cannot take effect with --format {name}; leave it out")
    for package, install in made.packages.items():
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--format {name} needs the package {package}: pip install {install}")
    if proof and made.runtime and importlib.util.find_spec(made.runtime) is None:
        raise UserError(
            f"the exported model is compared with the run's by {made.runtime}, which is not installed: pip install "
            f"{made.runtime}; or write it without proof: --no-proof"
        )
    if proof and not made.runtime and compiler() is None:
        raise UserError(
            "the exported code is compiled and compared with the run's model, but there is no C compiler: install gcc "
            "or clang, or write it without proof: --no-proof"
        )
    return made


def _check_options(options: Options) -> None:
    """Check what a program has set, since any other word would act as one of those that are known."""
    if not isinstance(options, Options):
        raise UserError(f"options: must be the Options of refrain.export (got {described(options)})")
    check_choice("options.weights", options.weights, get_args(Weights))
    check_choice("options.steps", options.steps, get_args(Steps))
    if not isinstance(options.libm, bool):
        raise UserError(f"options.libm: must be True or False (got {described(options.libm)})")
    metadata = options.metadata
    if not isinstance(metadata, Mapping) or not all(isinstance(each, str) for each in [*metadata, *metadata.values()]):
        raise UserError(f"options.metadata: must have names and texts (got {described(metadata)})")
    default = Options()
    for name, source in (("tokens", "the model"), ("start", "the model"), ("ids", "the model and `tokens`")):
        if getattr(options, name) != getattr(default, name):
            raise UserError(f"options.{name}: is taken from {source}; leave it out")


def check_proof(proof: bool, data: str | None, proof_tokens: int | None) -> int:
    """The number of tokens or words of the comparison; 0 for no comparison.

    Args:
        proof: whether the exported model will be run.
        data: the text of the comparison, if one is given.
        proof_tokens: the number, if it is given; None is 10,000.

    Raises:
        UserError: when the number is less than 1000 or no whole number, or one of them is given without a comparison.
    """
    proof_tokens = None if proof_tokens is None else whole_of(proof_tokens, "--proof-tokens")
    for option, given in (("--data", data), ("--proof-tokens", proof_tokens)):
        if not proof and given is not None:
            raise UserError(f"{option} cannot take effect with --no-proof; leave out one of them")
    if proof_tokens is not None and proof_tokens < 1000:
        raise UserError(f"--proof-tokens must be at least 1000 (got {proof_tokens})")
    return (PROOF_TOKENS if proof_tokens is None else proof_tokens) if proof else 0


def check_tagger_format(name: str, options: Options) -> None:
    """Check that a format can express a tagger with these options.

    Args:
        name: the format, which exists.
        options: what is written.

    Raises:
        UserError: when it cannot.
    """
    known = [each for each, made in FORMATS.items() if made.tagger_module]
    if name not in known:
        raise UserError(
            f"--format {name} cannot express a tagger, whose layers read each sentence from both ends; use --format "
            f"{' or '.join(known)}"
        )
    if options.steps != "many":
        raise UserError("--steps cannot take effect with a tagger, which reads whole sentences; leave it out")


def check_out(chosen: Format, out: Path, inputs: Iterable[str | Path], *, force: bool) -> None:
    """Check that the files of an exported model can be written.

    Args:
        chosen: the format.
        out: its file, or its folder.
        inputs: what is read.
        force: whether files that exist are replaced.

    Raises:
        UserError: when a file exists and `force` is not set, or is also read.
    """
    if not chosen.files:
        check_outputs([("--out", out)], inputs, force=force)
    elif out.is_dir():
        check_outputs([("--out", out / name) for name in chosen.files], inputs, force=force)
    elif out.exists():
        raise UserError(f"--out must be a folder (got {str(out)!r})")


def compiler() -> str | None:
    """The path of a C compiler, or None."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
