"""A small n-gram model of the words of the tiny corpus."""

ARPA = """
\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
0\t<s>\t-0.4
-0.5\tant
-0.6\tbee\t-0.1
-0.7\t</s>
-0.5\t<unk>

\\2-grams:
-0.2\t<s> ant
-0.3\tbee bee

\\end\\
"""
