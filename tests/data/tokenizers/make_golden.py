"""Writes wordpiece.json and unigram.json: what tokenizers 0.21 and sentencepiece 0.2 say of hard texts.

    python3 -m venv v && v/bin/pip install tokenizers==0.21.* sentencepiece==0.2.* && v/bin/python make_golden.py

The WordPiece vocabularies are made up here; the unigram model is trained here, with a small table of replacements of its own.
"""

import base64
import io
import json
import pathlib
import random

import sentencepiece
import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "", " ", "hello world", "Hello, World!", "  many   spaces\tand\nlines\r\n", "unbelievable", "Ünïcödé café naïve", "ＦＵＬＬ width",
    "don't stop-believing...", "x=1+2*3/4^5~6`7|8<9>0", "$5.00 & 50% #hash @at [brackets] {braces}", "日本語のテキスト", "你好，世界！", "한국어 텍스트",
    "Привет, мир", "ΑΒΓ ΣΟΦΟΣ σοφός", "İstanbul Iğdır", "straße STRASSE", "مرحبا بالعالم", "שָׁלוֹם", "हिन्दी पाठ", "ไทย", "emoji 😀 👩‍👩‍👧 ❤️", "a\u0000b\ufffdc",
    "zero\u200bwidth\u00a0space\u2028line\u3000wide", "soft\u00adhyphen", "e\u0301 vs \u00e9", "[CLS] [SEP] [MASK] [UNK]", "a" * 99, "a" * 100, "a" * 101,
    "ab" * 60, "zzzzqqqq", "hello" * 25, "…—–“”‘’«»", "ﬁ ﬂ Ⅷ ½ ²", "\U00020000 \U0002f800 豈", "C++ / C# / .NET", "Ωmega Å ℃",
]
WORDS = """hello world the a un believe stop don t s many space line cafe naive unicode full width brackets braces hash at x 1 2 3 4 5 6 7 8 9 0
cls sep mask unk strasse istanbul igdir zero soft hyphen vs emoji c net omega sofos""".split()
SUFFIXES = "##s ##able ##lo ##ing ##a ##b ##e ##ev ##iev ##ve ##bel ##d ##ab ##aa ##hello ##n".split()
SYMBOLS = list("!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~") + list("日本語的你好世界，！テキスト。") + list("приветмирабгσοφςéüïö½²…—“”«»å") + ["😀", "❤", "豈"]


def wordpiece(lower):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word for word in WORDS if word != "x"] + SUFFIXES + SYMBOLS + ["##" + c for c in "приветмирσοφςκст語本"]
    words += ["x", "##x"] if lower else ["X", "x", "Hello", "World", "CLS", "C", "Привет", "##ET", "İ", "##stanbul", "ΣΟΦΟΣ", "Ünïcödé", "café"]
    vocabulary = special + [word for i, word in enumerate(words) if word not in words[:i]]
    tokenizer = BertWordPieceTokenizer({word: i for i, word in enumerate(vocabulary)}, lowercase=lower)
    # A user's text never becomes control tokens here, so theirs must be spelled, too.
    cases = [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS if "[" not in text]
    return {"vocabulary": vocabulary, "cases": cases}


def unigram():
    random.seed(7)
    syllables = ["ka", "mo", "ri", "ta", "lo", "sen", "ver", "un", "ing", "est", "café", "日本", "при", "вет"]
    lines = [" ".join("".join(random.choices(syllables, k=random.randint(1, 4))) for _ in range(8)) for _ in range(3000)]
    rules = HERE / "rules.tsv"
    # Full width letters and digits to ASCII, ligatures, white space, a Roman numeral, a composed letter; one chain of three.
    pairs = [(f"{0xFF01 + i:X}", f"{0x21 + i:X}") for i in range(94)] + [("FB01", "66 69"), ("FB02", "66 6C"), ("A0", "20"), ("3000", "20"),
             ("9", "20"), ("A", "20"), ("2167", "56 49 49 49"), ("65 301", "E9"), ("200B", ""), ("AD", ""), ("2026", "2E 2E 2E")]
    rules.write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, vocab_size=160, model_type="unigram",
                                             normalization_rule_tsv=str(rules), character_coverage=0.999, minloglevel=2)
    rules.unlink()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    proto = sentencepiece.sentencepiece_model_pb2.ModelProto() if hasattr(sentencepiece, "sentencepiece_model_pb2") else None
    if proto is None:
        from sentencepiece import sentencepiece_model_pb2
        proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    texts = TEXTS + ["kamorita losen", "verunest katakamo", "  kamo  \n rita  ", "ｋａｍｏ　ｒｉ", "café cafe\u0301", "日本kamo при", "xyzkamoxyz", "kamo" * 40]
    return {
        "pieces": [piece.piece for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "types": [piece.type for piece in proto.pieces],
        "charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode(),
        "cases": [{"text": text, "ids": processor.encode(text)} for text in texts],
    }


if __name__ == "__main__":
    versions = {"tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__}
    words = {"versions": versions, "uncased": wordpiece(True), "cased": wordpiece(False)}
    (HERE / "wordpiece.json").write_text(json.dumps(words, ensure_ascii=True, indent=None) + "\n")
    (HERE / "unigram.json").write_text(json.dumps({"versions": versions, **unigram()}, ensure_ascii=True) + "\n")
