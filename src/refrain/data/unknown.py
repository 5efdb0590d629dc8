"""What a user should know of the unknown words of texts that a model was measured on."""

from collections.abc import Mapping

from .units.protocol import PreparesText, Vocabulary

# a larger share of the tokens makes a figure that of another text
MANY = 0.05
# a larger share of the vocabulary with capitals makes it one of texts with capitals; the Penn Treebank has N alone
FEW = 0.01


def unknown_concerns(
    vocabulary: Vocabulary, texts: Mapping[str, tuple[int, int]], *, in_training: bool = False, priced: bool = True
) -> list[str]:
    """Warnings about the words of texts that are not in the vocabulary of a model, each one line.

    Args:
        vocabulary: the vocabulary of the model.
        texts: for each text by name, the number of its words, characters or other tokens that are not in the vocabulary
            and are read as the unknown one, and the number of all its tokens.
        in_training: whether the model is being trained, so that its vocabulary can still be another one.
        priced: whether figures are reported in which unknown words have a price in nats; without, the states after them
            are used.
    """
    if vocabulary.unknown is None:
        return []
    unknown, units = vocabulary.token(vocabulary.unknown), f"{vocabulary.unit}s"
    remedy = _remedy(vocabulary, in_training)
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


def _remedy(vocabulary: Vocabulary, in_training: bool) -> str:
    """What to do where many words are unknown; of preparations only those that would change something."""
    preparation = vocabulary.preparation if isinstance(vocabulary, PreparesText) else None
    tokens = [vocabulary.token(number) for number in range(len(vocabulary))]
    capitals = sum(token != token.lower() for token in tokens) > FEW * len(tokens)
    # capitals may become known in training, and they are unknown to a model that has none
    lowercase = preparation is not None and not preparation.lowercase and capitals == in_training
    tokenise = preparation is not None and not preparation.tokenise
    if in_training:
        ways = ["data.lowercase=true"] * lowercase + ["data.tokenise=true"] * tokenise
        return f"read more with {', '.join(ways)} or a larger training text" if ways else "train on a larger text"
    ways = ["--lowercase"] * lowercase + ["--tokenise"] * tokenise
    if not ways:
        return "use a model that was trained on such a text"
    return f"make the text fit the model with {' or '.join(ways)}"
