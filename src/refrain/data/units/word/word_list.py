"""A vocabulary of words in a file: one word on each line, in the order of their ids."""

from pathlib import Path

from refrain.errors import DataError, shown
from refrain.storage.regular_files import read_regular

from ...text.words import split_words
from .vocabulary import EOS, UNK

MAX_BYTES = 1 << 28
# what other programs call the two special words
OTHER_NAMES = {"</s>": EOS, "<UNK>": UNK}


def read_word_list(path: Path) -> list[str]:
    """Read the words of a file in the order of their ids.

    `</s>` is read as `<eos>`, and `<UNK>` as `<unk>`, where the file lacks that word. Each of the two that is still
    missing is added at the end, `<eos>` first.

    Args:
        path: the file, in UTF-8, with one word on each line.

    Raises:
        DataError: when it cannot be read, is empty, has a line without a word or with several, or a word twice.
    """
    try:
        text = read_regular(path, limit=MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: invalid UTF-8 at byte {error.start}; give the vocabulary as UTF-8 text") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as a vocabulary ({error.strerror}); data.vocabulary is a file or a run"
        ) from None
    found: dict[str, int] = {}
    for number, line in enumerate(text.rstrip("\r\n").split("\n"), 1):
        words = split_words(line)
        if len(words) != 1:
            what = f"has {len(words)} words" if words else "has no word"
            raise DataError(f"{path}:{number}: {what}, but a vocabulary has one word on each line (got {shown(line)})")
        if words[0] in found:
            raise DataError(
                f"{path}:{number}: has {shown(words[0])} again, as in line {found[words[0]]}; leave one out"
            )
        found[words[0]] = number
    names = {other: name for other, name in OTHER_NAMES.items() if name not in found}
    listed = [names.get(word, word) for word in found]
    return [*listed, *(word for word in (EOS, UNK) if word not in listed)]
