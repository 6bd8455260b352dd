#!/usr/bin/env python3
"""scripts/golden/tokens.py - small tokenizers of every family, and the ids they give.

Trains tokenizers of a few hundred tokens with the reference library (Python packages tokenizers and
sentencepiece) on texts of the data collection and writes, into the folder OUT, one NAME.json per
family in the layout of tokenizer.json, and golden.json: texts, and for every tokenizer the ids of
each text, without the special tokens of the post-processor, and what the reference decodes them to.

    scripts/golden/tokens.py DATA tests/golden/data/tokenizers

Training is not reproducible to the token, so every run makes new files; they belong together.
"""
import base64
import io
import json
import os
import sys
import tempfile

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

META = "\u2581"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")

TEXTS = [
    "", " ", "  ", "a", "Hello world", "Hello, my name is", " leading space", "  two leading",
    "trailing space ", "trailing two  ", "many     spaces   inside", "tab\tand\ttabs\t\t",
    "one\ntwo\n\nthree\n", "CRLF\r\nline\r\n\r\nend", " \n \n  \t\n x",
    "They've said it's 3.14159 or 2,718; we'll see. I'D GO'", "1 12 123 1234 12345 1234567",
    "def f(x):\n    return x**2  # comment\n", "a+b=c; (d)[e]{f} <g> \"h\" 'i' `j` ~k @l #m $n %o",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m A\u030angstro\u0308m \u0130stanbul \u1e9e",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
    "\u6f22\u5b57\u304b\u306a\u30ab\u30ca \uff21\uff22\uff23\uff11\uff12 \u3000\u5168\u89d2",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0661\u0662\u0663",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2764\ufe0f \U0001f44d\U0001f3fd",
    "e\u0301\u0302\u0303 o\u0308\u0304 Z\u0351\u036b\u0343 \u0301alone", "\u01c4 \u01c6 \ufb01 \ufb03 \u2460 \u00bd \u2122 \u33a5 \u2163",
    "\u00a0no\u00a0break \u2003em \u200bzero \u2028line \u2029par \ufeffbom \u00adsoft \u180ex",
    "\x01\x02\x07\x08\x0b\x0c\x1b\x1f\x7f\u0080\u0085\u009f", "\ufffd \ue000 \U000f0000 \U0010ffff",
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|> c", "<s>text</s> <unk> <0x0A> <s", "x <mask> y<mask>z",
    META + "meta " + META + META + " and" + META, "word" * 60, "antidisestablishmentarianism" * 8,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "....!!!!????----____", "' 's 'S 'll 'LL \u2019s \u017f '\u017f",
    "The quick brown fox\njumps over the lazy dog. The End?", "x\u0300y\u0301 \u1100\u1161 \u0958 \u2126 \u212b",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002The whale, the WHALE!", "0\u0966\u00b2\u00bc \u2160 9a9",
]

# Normalisation of a small SentencePiece model: source and target, hexadecimal code points.
RULES = ([(c, c + 32) for c in range(0x41, 0x45)] + [(c, c - 0xFEE0) for c in range(0xFF01, 0xFF5F)] +
         [((0x65, 0x301), 0xE9), ((0x6F, 0x308), 0xF6), (0xFB01, (0x66, 0x69)), (0x2460, 0x31),
          (0xBD, (0x31, 0x2044, 0x32)), (0x2122, (0x54, 0x4D)), (0x3000, 0x20), (0xA0, 0x20),
          (0x9, 0x20), (0xA, 0x20), (0xD, 0x20), (0x200B, 0x20), (0x7F, ()), (0x1, ()),
          ((0x1112, 0x1161, 0x11AB), 0xD55C), (0x958, (0x915, 0x93C)), (0x2126, 0x3A9)])


def corpus(data):
    lines = []
    for name in ("tinyshakespeare/input.txt", "gutenberg-moby-dick/moby_dick.txt",
                 "wikitext2-valid/valid.txt"):
        with open(os.path.join(data, name), encoding="utf-8") as f:
            lines += f.read()[:150000].splitlines(keepends=True)
    return lines + [t for t in TEXTS if t] * 3


def byte_level(name, lines, regex, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    if regex == GPT2:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(regex), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=520, show_progress=False, special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(t.to_str())


def with_bos(name, lines):
    """Llama 3: BOS by a template, and a word that is a token but no merge reaches."""
    j = byte_level(name, lines, LLAMA3, ignore_merges=True)
    j["model"]["vocab"]["\u0120whaling"] = len(j["model"]["vocab"])
    j["post_processor"] = {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0],
                                             "tokens": ["<|endoftext|>"]}}}
    return j


def mixed(name, lines):
    """Falcon's chain of pre-tokenizers; added tokens with every flag; an extra space in front."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(),
                                         normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), behavior="isolated")])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=480, show_progress=False, special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("whale", single_word=True, normalized=True),
                  AddedToken("The End", normalized=True), AddedToken("  ", normalized=False)])
    return json.loads(t.to_str())


def sentencepiece_bpe(lines, extra_merge=None):
    """Vocabulary and merges as Llama 2 has them: specials, bytes, then characters and merges."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Replace(" ", META)
    t.pre_tokenizer = pre_tokenizers.Split(META, behavior="merged_with_next")
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=300, show_progress=False,
                                                     limit_alphabet=70))
    trained = json.loads(t.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    tokens += sorted(trained["vocab"], key=trained["vocab"].get)
    merges = trained["merges"]
    if extra_merge:
        tokens.append("".join(extra_merge))
        merges = [list(extra_merge)] + merges
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "ignore_merges": False, "vocab": {s: i for i, s in enumerate(tokens)}, "merges": merges}


def special(content, i, **flags):
    return dict({"id": i, "content": content, "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": False, "special": True}, **flags)


def assemble(model, normalizer, pre, decoder, added):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": None,
            "decoder": decoder, "model": model}


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": META}
BACK = {"type": "Replace", "pattern": {"String": META}, "content": " "}
ENDS = [special("<unk>", 0), special("<s>", 1), special("</s>", 2)]


def sp_decoder(strip):
    steps = [BACK, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if strip:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def llama2(name, lines):
    return assemble(sentencepiece_bpe(lines), {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": META}, REPLACE]}, None, sp_decoder(True), ENDS)


def mistral(name, lines):
    """The Metaspace form; a merge that joins a word to the next space."""
    return assemble(sentencepiece_bpe(lines, ("e", META)), None,
                    {"type": "Metaspace", "replacement": META, "prepend_scheme": "first",
                     "split": False}, sp_decoder(True), ENDS)


def gemma(name, lines):
    return assemble(sentencepiece_bpe(lines), REPLACE, {
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
        "invert": False}, sp_decoder(False), ENDS + [special("\n\n", 259 + 300, special=False)])


def no_bytes(name, lines):
    """Characters outside the vocabulary are unknown, each of them."""
    model = sentencepiece_bpe(lines)
    model.update(fuse_unk=False, byte_fallback=False)
    return assemble(model, REPLACE, {"type": "Metaspace", "replacement": META,
                                     "add_prefix_space": True, "prepend_scheme": "always"},
                    {"type": "Metaspace", "replacement": META, "prepend_scheme": "always"}, ENDS)


def unigram(name, lines):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(),
                                         normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(lines, trainers.UnigramTrainer(
        vocab_size=500, show_progress=False, unk_token="<unk>", special_tokens=["<unk>", "</s>"]))
    return json.loads(t.to_str())


def precompiled(name, lines):
    """Converted from a SentencePiece model; with byte tokens."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
        for source, target in RULES:
            rules.write("\t".join(" ".join("%X" % c for c in (x if isinstance(x, tuple) else (x,)))
                                  for x in (source, target)) + "\n")
        rules.flush()
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=out, model_type="unigram", vocab_size=620,
            byte_fallback=True, character_coverage=0.998, normalization_rule_tsv=rules.name,
            minloglevel=2, num_threads=1)
    return convert(out.getvalue())


def convert(model):
    """tokenizer.json of a SentencePiece unigram model with byte fallback."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    m.ParseFromString(model)
    vocab = [[p.piece, p.score] for p in m.pieces]
    charsmap = base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()
    return assemble(
        {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": True},
        {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": charsmap},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": META}]},
        {"type": "Metaspace", "replacement": META, "prepend_scheme": "first", "split": True},
        {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {
            "type": "Metaspace", "replacement": META, "prepend_scheme": "always", "split": True}]},
        ENDS)


def wordlevel(name, lines):
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.pre_tokenizer = (pre_tokenizers.WhitespaceSplit() if name == "wordlevel_split"
                       else pre_tokenizers.Whitespace())
    t.train_from_iterator(lines, trainers.WordLevelTrainer(
        vocab_size=400, show_progress=False, special_tokens=["<unk>", "<s>"]))
    return json.loads(t.to_str())


FAMILIES = {
    "gpt2": lambda n, c: byte_level(n, c, GPT2),
    "llama3": with_bos,
    "qwen2": lambda n, c: byte_level(n, c, QWEN2, normalizers.NFC()),
    "mixed": mixed,
    "llama2": llama2,
    "mistral": mistral,
    "gemma": gemma,
    "no_bytes": no_bytes,
    "unigram": unigram,
    "precompiled": precompiled,
    "wordlevel": wordlevel,
    "wordlevel_split": wordlevel,
}


def without_bos(name, ids):
    """Where a space is put in front of the text, a BOS in front of that has no text for us."""
    prefixed = name in ("llama2", "mistral", "no_bytes", "precompiled")
    return ids[1:] if prefixed and ids[:1] == [1] else ids


def main():
    data, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    lines = corpus(data)
    golden = {"texts": TEXTS, "ids": {}, "decoded": {}}
    for name, make in FAMILIES.items():
        text = json.dumps(make(name, lines), ensure_ascii=False, separators=(",", ":"))
        with open(os.path.join(out, name + ".json"), "w", encoding="utf-8") as f:
            f.write(text + "\n")
        t = Tokenizer.from_str(text)
        ids = [t.encode(s, add_special_tokens=False).ids for s in TEXTS]
        golden["ids"][name] = ids
        if name != "mixed":  # where the reference writes added tokens in their normalised form
            golden["decoded"][name] = [t.decode(without_bos(name, i), skip_special_tokens=False)
                                       for i in ids]
    with open(os.path.join(out, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
