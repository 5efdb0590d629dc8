"""A tiny tagged language that tests learn: endings decide the tags, and for one word the word before."""

import random

WORDS = {
    "D": ["the", "a"],
    "N": ["dogs", "cats", "owls", "cows", "hens", "bees"],
    "V": ["barking", "running", "hiding", "eating"],
    "P": ["."],
}


def sentences(count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        tags = ["D", "N", "V", "P"] if draw.random() < 0.5 else ["N", "V", "D", "N", "P"]
        yield [(draw.choice(WORDS[tag]), tag) for tag in tags]


def write_tsv(folder):
    """Three splits, token and tag with a tab between them."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate({"train": 60, "dev": 20, "test": 20}.items()):
        text = "".join("".join(f"{word}\t{tag}\n" for word, tag in each) + "\n" for each in sentences(count, seed))
        (folder / f"toy.{split}.tsv").write_text(text)
    return folder
