"""What a user should know of the unknown words of texts that a model was measured on."""

from collections.abc import Mapping

from .units.protocol import PreparesText, Vocabulary

# a larger share of the tokens makes a figure that of another text
MANY = 0.05

FIT_THE_TEXT = "make the text fit the model with --lowercase or --tokenise"
FIT_THE_MODEL = "read more with data.lowercase=true, data.tokenise=true or a larger training text"


def unknown_concerns(
    vocabulary: Vocabulary, texts: Mapping[str, tuple[int, int]], remedy: str = FIT_THE_TEXT
) -> list[str]:
    """Warnings about the words of texts that are not in the vocabulary of a model, each one line.

    Args:
        vocabulary: the vocabulary of the model.
        texts: for each text by name, the number of its words, characters or other tokens that are not in the vocabulary
            and are read as the unknown one, and the number of all its tokens.
        remedy: what to do where they are many and the vocabulary prepares texts.
    """
    if vocabulary.unknown is None:
        return []
    unknown, units = vocabulary.token(vocabulary.unknown), f"{vocabulary.unit}s"
    if not isinstance(vocabulary, PreparesText):
        remedy = "use a model that was trained on such a text"
    lines = []
    if many := [
        f"{unseen / tokens:.1%} of {name}" for name, (unseen, tokens) in texts.items() if unseen > MANY * tokens
    ]:
        lines.append(
            f"unknown {units}, which are read as {unknown}, are {', '.join(many)}, so that figures with them mean "
            f"little; compare those without unknown {units}, or {remedy}"
        )
    found = [f"{name} {unseen:,}" for name, (unseen, _) in texts.items() if unseen]
    if found and vocabulary.unknown_count == 0:
        lines.append(
            f"{unknown} does not occur in the training text, so that what unknown {units} cost ({', '.join(found)}) is "
            f"arbitrary; train with data.min_count=2, or compare figures without unknown {units}"
        )
    return lines
