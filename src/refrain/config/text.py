"""The corpus and its vocabulary, the same for every kind of run."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .values import Count, Settings, Share, Whole


class Text(Settings):
    """A corpus, its splits and the vocabulary of its training text."""

    corpus: str = Field("python-docs", description="The name of a corpus, or the path of a folder or file.")
    split: tuple[Share, Share] = Field(
        (0.9, 0.05),
        description="Fractions of a single file that become the training and validation text, in the order of the "
        "file; the rest is the test text. Not for a folder that has a file for each split.",
    )
    order: Literal["descending", "ascending", "first-seen", "random"] = Field(
        "descending",
        description="How the ids of words or characters are ordered: by frequency in the training text (descending or "
        "ascending), by first "
        "occurrence, or at random.",
    )
    order_seed: Whole | None = Field(None, description="Seed of the random order; none: 1.")
    ties: Literal["spelling", "first-seen"] | None = Field(
        None,
        description="How words or characters of equal frequency are ordered: by spelling, or by first occurrence; "
        "none: by spelling where order is descending, by first occurrence where it is ascending.",
    )
    min_count: Count = Field(
        1, description="Words that occur less often in the training text become <unk>, and characters U+FFFD."
    )
    errors: Literal["strict", "replace"] = Field(
        "strict", description="What to do with invalid UTF-8: stop (strict), or read it as U+FFFD (replace)."
    )

    @model_validator(mode="after")
    def _split_and_order(self) -> Self:
        if sum(self.split) > 1 + 1e-9:
            raise ValueError(f"split: train and valid are more than the whole (got {list(self.split)})")
        if self.order_seed is not None and self.order != "random":
            raise ValueError(f"order_seed: cannot take effect where order is {self.order!r}")
        if self.ties is not None and self.order not in ("descending", "ascending"):
            raise ValueError(f"ties: cannot take effect where order is {self.order!r}")
        return self
