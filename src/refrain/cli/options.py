"""Types and help texts of the arguments and options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Cleaning = Literal["none", "reviews"]
Device = Literal["auto", "cpu", "cuda"]
Errors = Literal["strict", "replace"]
Weights = Literal["float32", "int8"]
Protocol = Literal["exact", "zaremba", "awd"]

_ERRORS = Parameter(help="What to do at invalid UTF-8: stop (strict), or read U+FFFD in its place (replace).")

# a switch that has no --no- form, with a help text in the docstring of its command
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

LowercaseOption = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Convert the text to lower case, for a model that was trained on lower case.",
    ),
]
TokeniseOption = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Split words from punctuation and contractions, for a model of words. What the model was trained with "
        "(data.lowercase, data.tokenise) is done in any case.",
    ),
]


def run_folder(kind: Any, tokens: Sequence[Any]) -> Path:
    """The folder that a word names: a path, or the name of a run that needs none.

    Args:
        kind: the type of the argument.
        tokens: the word.
    """
    from refrain.runs.named import named_run

    return named_run(tokens[0].value)


NAMED = Parameter(converter=run_folder)
"""For every argument that is a run: also takes the name of one that comes with refrain or was fetched."""
RunArgument = Annotated[
    Path,
    NAMED,
    Parameter(help="A run folder, or one of its checkpoints; or the name of a model (see refrain models)."),
]
TextArgument = Annotated[str, Parameter(allow_leading_hyphen=True, help="The text file; - is standard input.")]

BatchSizeOption = Annotated[int, Parameter(help="The number of texts in a batch; affects speed and memory only.")]
CleaningOption = Annotated[
    Cleaning | None,
    Parameter(
        help="reviews: resolve HTML entities, replace newlines by blanks, and add a blank before and after each text. "
        "The default is the cleaning that the model was trained with."
    ),
]
DataOption = Annotated[
    str | None,
    Parameter(
        help="The corpus: a folder of splits, a file, a pattern, a folder of texts, or a name (see refrain data)."
    ),
]
DeviceOption = Annotated[
    Device, Parameter(help="The device to compute on. auto: a CUDA GPU if there is one, otherwise the CPU.")
]
ErrorsOption = Annotated[Errors, _ERRORS]
OptionalErrorsOption = Annotated[Errors | None, _ERRORS]
ForceOption = Annotated[
    bool, Parameter(negative=(), show_default=False, help="Replace what exists at the output path.")
]
JsonOption = Annotated[bool, Parameter(negative=(), show_default=False, help="Print the results as one JSON object.")]
LayerOption = Annotated[
    int | None, Parameter(help="The index of the layer, counting from 0 at the bottom. The default is the last layer.")
]
SkipBadOption = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Leave out tagged sentences with mistakes and list them, instead of stopping.",
    ),
]
StateOption = Annotated[
    Literal["cell", "hidden"] | None,
    Parameter(help="The state to read. The default is the cell state, or the hidden state if the layer has no other."),
]
WeightsOption = Annotated[
    Weights | None,
    Parameter(
        help="int8: round every matrix to 127ths of the largest entry of each row, so that a token reads a quarter of "
        "the memory. float32: compute with float32. The default is int8 for a run with int8 weights, otherwise float32."
    ),
]
MixOption = Annotated[
    Path | None,
    Parameter(
        help="An ARPA file, or a binary file of KenLM, whose probabilities are interpolated with those of a model of "
        "words."
    ),
]
MixWeightOption = Annotated[
    str | None,
    Parameter(
        help="The weight of the n-gram model, at least 0 and less than 1. auto, the default, chooses it on the "
        "validation text of the run."
    ),
]
