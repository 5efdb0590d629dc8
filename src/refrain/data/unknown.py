"""What a user should know of the unknown words of texts that a model was measured on."""

from collections.abc import Callable, Mapping

from .units.protocol import PreparesText, Vocabulary

# a larger share of the tokens makes a figure that of another text
MANY = 0.05
# a larger share of the vocabulary with capitals makes it one of texts with capitals; the Penn Treebank has N alone
FEW = 0.01
# the units that know more or all texts, by the unit that does not
SMALLER_UNITS = {"word": "data.unit=subword (or character, or byte)", "character": "data.unit=byte"}


def unknown_concerns(
    vocabulary: Vocabulary,
    texts: Mapping[str, tuple[int, int]],
    *,
    in_training: bool = False,
    min_count: int = 1,
    priced: bool = True,
    own: bool = False,
) -> list[str]:
    """Warnings about the words of texts that are not in the vocabulary of a model, each one line.

    Args:
        vocabulary: the vocabulary of the model.
        texts: for each text by name, the number of its words, characters or other tokens that are not in the vocabulary
            and are read as the unknown one, and the number of all its tokens.
        in_training: whether the model is being trained, so that its vocabulary can still be another one.
        min_count: in training, the setting `data.min_count`.
        priced: whether figures are reported in which unknown words have a price in nats; without, the states after them
            are used.
        own: whether the texts are of the corpus of the model, which are prepared as its training text was.
    """
    if vocabulary.unknown is None:
        return []
    unknown, units = vocabulary.token(vocabulary.unknown), f"{vocabulary.unit}s"
    remedy = _remedy_in_training(vocabulary, min_count) if in_training else _remedy(vocabulary, own=own)
    lines = []
    if many := [
        f"{unseen / tokens:.1%} of {name}" for name, (unseen, tokens) in texts.items() if unseen > MANY * tokens
    ]:
        effect = f"figures with them mean little; compare those without unknown {units}, or {remedy}"
        if not priced:
            effect = f"states after them say little about the text; {remedy}"
        lines.append(f"unknown {units}, which are read as {unknown}, are {', '.join(many)}, so that {effect}")
    found = [f"{name} {unseen:,}" for name, (unseen, _) in texts.items() if unseen]
    if found and priced and vocabulary.unknown_count == 0:
        lines.append(
            f"{unknown} does not occur in the training text, so that what unknown {units} cost ({', '.join(found)}) is "
            f"arbitrary; train with data.min_count=2, or compare figures without unknown {units}"
        )
    return lines


def is_about_unknown(concern: str) -> bool:
    """Whether a line is one of `unknown_concerns`.

    Args:
        concern: the line.
    """
    return concern.startswith("unknown ") or " does not occur in the training text, so that what unknown " in concern


def _remedy_in_training(vocabulary: Vocabulary, min_count: int) -> str:
    """What to train with where many words would be unknown."""
    preparation = vocabulary.preparation if isinstance(vocabulary, PreparesText) else None
    ways = [f"data.min_count=2 (it is {min_count})"] if min_count > 2 else []
    if preparation is not None:
        ways += ["data.lowercase=true"] * (not preparation.lowercase and _share(vocabulary, _has_capitals) > FEW)
        ways += ["data.tokenise=true"] * (not preparation.tokenise)
    smaller = SMALLER_UNITS.get(vocabulary.unit)
    ways += [smaller] if smaller else []
    return f"train with {', '.join(ways)}, or on a larger text" if ways else "train on a larger text"


def _remedy(vocabulary: Vocabulary, *, own: bool) -> str:
    """What to do where many words are unknown to a model; of preparations only those that suit its vocabulary."""
    if own:
        return "use a model with a larger vocabulary"
    preparation = vocabulary.preparation if isinstance(vocabulary, PreparesText) else None
    # capitals are unknown to a model that has none, and so are words without the punctuation that its words end in
    lowercase = preparation is not None and not preparation.lowercase and _share(vocabulary, _has_capitals) <= FEW
    tokenise = preparation is not None and not preparation.tokenise and _share(vocabulary, _ends_in_marks) <= FEW
    ways = ["--lowercase"] * lowercase + ["--tokenise"] * tokenise
    if not ways:
        return "use a model that was trained on such a text"
    return f"make the text fit the model with {' or '.join(ways)}"


def _share(vocabulary: Vocabulary, holds: Callable[[str], bool]) -> float:
    """The share of the tokens of a vocabulary of which something holds."""
    return sum(holds(vocabulary.token(number)) for number in range(len(vocabulary))) / len(vocabulary)


def _has_capitals(token: str) -> bool:
    return token != token.lower()


def _ends_in_marks(token: str) -> bool:
    """Whether a token ends in punctuation that does not end an abbreviation, as in a text that is not tokenised."""
    return len(token) > 1 and token[-1] in ",;:!?)" and token[-2].isalnum()
