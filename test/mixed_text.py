"""Mixed text for the tokenizer's tests and benchmark: code, translations into 99 languages, emoji, and invalid bytes.

Seeded: the same Python and packages give the same bytes. Texts end with a NUL byte each and hold none.
"""
import pathlib
import random
import re
import sysconfig

import django

TRICKY = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<bos>", "<start_of_turn>", "<|eot_id|>", "<｜User｜>", "[INST]", "<think>",
          "<|start|>", "<0x0A>", "<|endoftext|>", "<unk>", "▁", "Ġ", "\u0301", "e\u0301", "각", "ﬁ", "'S", "'ſ", "I'LL",
          "can't ", "\r\n\r\n  ", "\t\t x", "   \n  \n a", "1234567", "１２３４٥", "ǅǆ", "A\u0301B", "中A文b"]
PINCH = " \t\r\n'aAsSlLzZ09.,/ſéÉ中あ️\u0301\u3000Ⅷ²"
LETTERS = [point for point in range(1, 0x110000) if not 0xD800 <= point <= 0xDFFF]
EMOJI = [chr(point) for point in [*range(0x1F300, 0x1F650), *range(0x1F900, 0x1FA00)]] + ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️"]


def translations():
    """Sentences by language, of Django's catalogues."""
    found = {}
    for path in sorted(pathlib.Path(django.__path__[0]).glob("**/locale/*/LC_MESSAGES/*.po")):
        strings = re.findall(r'^msgstr(?:\[\d\])? (".*"(?:\n".*")*)', path.read_text("utf-8"), re.M)
        joined = ("".join(re.findall(r'"(.*)"', string)) for string in strings)
        found.setdefault(path.parts[-3], []).extend(
            text.replace("\\n", "\n").replace('\\"', '"') for text in joined if len(text) > 8)
    return found


def code():
    return b"\n".join(path.read_bytes() for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))


def mixed(size, seed=1, hard=True):
    """About `size` bytes of texts. `hard`: with the tricky, the random and the invalid ones."""
    rnd = random.Random(seed)
    source, languages = code(), translations()
    names = sorted(languages)
    asian = [name for name in names if name.startswith(("zh", "ja", "ko"))]

    def cut(most):
        at = rnd.randrange(len(source) - most)
        return source[at:at + rnd.randrange(10, most)]

    def sentences(among, joiner):
        return joiner.join(rnd.choice(languages[rnd.choice(among)]) for _ in range(rnd.randrange(1, 60))).encode()

    def sprinkled():
        words = languages[rnd.choice(names)]
        kinds = (lambda: rnd.choice(EMOJI) * rnd.randrange(1, 4), lambda: rnd.choice(words)[:40], lambda: rnd.choice(TRICKY),
                 lambda: " " * rnd.randrange(4), lambda: "\n" * rnd.randrange(3))
        return "".join(rnd.choice(kinds)() for _ in range(rnd.randrange(1, 80))).encode()

    def damaged():
        text = bytearray(cut(1500))
        for _ in range(rnd.randrange(1, 60)):
            at = rnd.randrange(len(text))
            text[at:at + rnd.randrange(2)] = bytes(rnd.randrange(1, 256) for _ in range(rnd.randrange(1, 4)))
        return bytes(text)

    kinds = [(40, lambda: cut(8000)), (35, lambda: sentences(names, " ")), (15, lambda: sentences(asian, ""))]
    if hard:
        kinds += [(10, sprinkled), (4, lambda: "".join(chr(rnd.choice(LETTERS)) for _ in range(rnd.randrange(1, 300))).encode()),
                  (4, lambda: "".join(rnd.choice(PINCH) for _ in range(rnd.randrange(1, 400))).encode()), (4, damaged)]
    weights = [weight for weight, _ in kinds]
    texts = bytearray()
    while len(texts) < size:
        _, make = rnd.choices(kinds, weights)[0]
        texts += make().replace(b"\0", b" ") + b"\0"
    return bytes(texts)
