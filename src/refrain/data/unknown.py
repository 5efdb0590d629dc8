"""What a user should know of the unknown words of texts that a model was measured on."""

from collections.abc import Mapping

from .units.protocol import Vocabulary

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
        texts: for each text by name, the number of its words that are not in the vocabulary and are read as `<unk>`,
            and the number of its tokens.
        remedy: what to do where they are many.
    """
    lines = []
    if many := [
        f"{unseen / tokens:.1%} of {name}" for name, (unseen, tokens) in texts.items() if unseen > MANY * tokens
    ]:
        lines.append(
            f"unknown words, which are read as <unk>, are {', '.join(many)}, so that figures with them mean little; "
            f"compare those without unknown words, or {remedy}"
        )
    found = [f"{name} {unseen:,}" for name, (unseen, _) in texts.items() if unseen]
    if found and vocabulary.unknown_count == 0:
        lines.append(
            f"<unk> does not occur in the training text, so that what unknown words cost ({', '.join(found)}) is "
            "arbitrary; train with data.min_count=2, or compare figures without unknown words"
        )
    return lines
