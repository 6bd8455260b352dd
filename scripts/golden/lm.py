#!/usr/bin/env python3
"""scripts/golden/lm.py - tiny random language models with golden values, one per architecture.

    scripts/golden/lm.py tests/golden/data/lm            all of them
    scripts/golden/lm.py tests/golden/data/lm llama      one

Needs PyTorch (CPU), transformers 4.57, safetensors and numpy; development only. For every model:
random weights of a fixed seed, rounded to the stored type and written as a Hugging Face directory
(config.json in the form published checkpoints have); then transformers opens that directory in
float64 with eager attention, and what it computes goes to golden.safetensors (tests/golden/data/lm/
README.md lists its tensors). The library does parts of a forward pass in float32 whatever the
type of the model (norms, rotary angles, softmax); these casts are turned off. A second forward
pass, written here from the equations, has to agree to 1e-12 in every value and gradient.
"""
import json
import math
import os
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from torch.nn import functional as F

VOCAB, CTX, LENGTHS = 40, 24, (19, 5)

GPT2 = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
    "bos_token_id": 39, "embd_pdrop": 0.1, "eos_token_id": 39, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-03, "model_type": "gpt2", "n_ctx": CTX, "n_embd": 16, "n_head": 2,
    "n_layer": 2, "n_positions": CTX, "resid_pdrop": 0.1, "summary_activation": None,
    "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": VOCAB,
}
NEOX = {
    "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 1, "eos_token_id": 1,
    "hidden_act": "gelu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 24,
    "layer_norm_eps": 1e-05, "max_position_embeddings": CTX, "model_type": "gpt_neox",
    "num_attention_heads": 2, "num_hidden_layers": 2, "rotary_emb_base": 10000,
    "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float16",
    "transformers_version": "4.24.0", "use_cache": True, "use_parallel_residual": True,
    "vocab_size": VOCAB,
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 20, "initializer_range": 0.02,
    "intermediate_size": 28, "max_position_embeddings": CTX, "model_type": "llama",
    "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 1,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
    "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.31.0",
    "use_cache": True, "vocab_size": VOCAB,
}
QWEN = {
    "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    "hidden_size": 20, "initializer_range": 0.02, "intermediate_size": 28,
    "max_position_embeddings": CTX, "max_window_layers": 1, "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "use_cache": True, "use_sliding_window": False, "vocab_size": VOCAB,
}
GEMMA = {  # published Gemma files do not say tie_word_embeddings: it defaults to true
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 2,
    "cache_implementation": "hybrid", "head_dim": 8, "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 12, "initializer_range": 0.02, "intermediate_size": 20,
    "max_position_embeddings": CTX, "num_attention_heads": 2, "num_key_value_heads": 1,
    "pad_token_id": 0, "query_pre_attn_scalar": 20, "rms_norm_eps": 1e-03,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": VOCAB,
}
LLAMA3_SCALING = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                  "original_max_position_embeddings": 64, "rope_type": "llama3"}

# name: configuration, stored type, number of weight files. An eps of 1e-3 shows that the file's
# number is used: between 1e-5 and 1e-6 there is no visible difference.
MODELS = {
    "gpt2": (GPT2, torch.float32, 1),
    "gpt_neox": (NEOX, torch.bfloat16, 1),
    "gpt_neox_seq": ({**NEOX, "hidden_size": 16, "rotary_pct": 0.5, "intermediate_size": 32,
                      "layer_norm_eps": 1e-03, "use_parallel_residual": False}, torch.bfloat16, 1),
    "llama": ({**LLAMA, "num_attention_heads": 4, "hidden_size": 24, "num_key_value_heads": 2},
              torch.float16, 1),
    # head 16: wavelengths 6.3 (kept), 32 (blended), 167 and more (divided)
    "llama3": ({**LLAMA, "eos_token_id": [2, 3, 4], "head_dim": 16,
                "max_position_embeddings": 128, "mlp_bias": False,
                "rope_scaling": LLAMA3_SCALING, "rope_theta": 500000.0, "tie_word_embeddings": True,
                "torch_dtype": "bfloat16"}, torch.bfloat16, 1),
    "llama_linear": ({**LLAMA, "rms_norm_eps": 1e-03,
                      "rope_scaling": {"factor": 4.0, "type": "linear"}}, torch.bfloat16, 1),
    "qwen2": ({**QWEN, "architectures": ["Qwen2ForCausalLM"], "hidden_size": 24,
               "model_type": "qwen2", "sliding_window": 3}, torch.bfloat16, 1),
    "qwen3": ({**QWEN, "architectures": ["Qwen3ForCausalLM"], "attention_bias": False,
               "head_dim": 8, "model_type": "qwen3", "rms_norm_eps": 1e-03, "rope_scaling": None,
               "sliding_window": None}, torch.bfloat16, 2),
    "gemma2": ({**GEMMA, "architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": 3.0,
                "eos_token_id": 1, "final_logit_softcapping": 6.0, "hidden_act":
                "gelu_pytorch_tanh", "model_type": "gemma2", "num_hidden_layers": 2,
                "rope_theta": 10000.0, "sliding_window": 5}, torch.bfloat16, 1),
    "gemma3": ({**GEMMA, "architectures": ["Gemma3ForCausalLM"], "attn_logit_softcapping": None,
                "eos_token_id": [1, 3], "final_logit_softcapping": None, "model_type":
                "gemma3_text", "num_hidden_layers": 4, "rope_local_base_freq": 10000,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "rope_theta": 1000000,
                "sliding_window": 5, "sliding_window_pattern": 3}, torch.bfloat16, 1),
    "mistral": ({**LLAMA, "architectures": ["MistralForCausalLM"], "head_dim": 6, "model_type":
                 "mistral", "num_attention_heads": 4, "num_key_value_heads": 2,
                 "rope_theta": 10000.0, "sliding_window": 5, "torch_dtype": "bfloat16"},
                torch.bfloat16, 3),
}


# ---- weights -----------------------------------------------------------------------------------

def is_gemma(c):
    return c["model_type"].startswith("gemma")


def random_tensor(rng, c, name, shape):
    """Scales at which every part of the model matters: attention far from uniform, caps that
    bend, norm weights and biases away from one and zero."""
    x = rng.standard_normal(shape)
    if "norm" in name or ".ln_" in name or name.startswith("transformer.ln_"):
        return 0.3 * x + (0 if name.endswith("bias") or is_gemma(c) else 1)
    if name.endswith("bias"):
        return 0.3 * x
    if any(e in name for e in ("wte", "embed_tokens", "embed_in", "embed_out", "lm_head")):
        return 0.6 * x
    if "wpe" in name:
        return 0.4 * x
    fan_in = shape[0] if c["model_type"] == "gpt2" else shape[1]
    attends = any(e in name for e in ("q_proj", "k_proj", "query_key_value", "c_attn"))
    return (1.5 if attends else 1.0) / math.sqrt(fan_in) * x


def file_name(c, name):
    """Name in the file of a parameter: GPT-2's hub file has no prefix."""
    return name.removeprefix("transformer.") if c["model_type"] == "gpt2" else name


def leftovers(c):
    """Buffers that published files carry and readers have to pass over."""
    out, mask = {}, torch.tril(torch.ones(1, 1, CTX, CTX))
    if c["model_type"] == "gpt2":
        for l in range(c["n_layer"]):
            out[f"h.{l}.attn.bias"] = mask.clone()
    if c["model_type"] == "gpt_neox":
        h = c["hidden_size"] // c["num_attention_heads"]
        r = int(h * c["rotary_pct"])
        for l in range(c["num_hidden_layers"]):
            p = f"gpt_neox.layers.{l}.attention."
            out[p + "bias"] = mask.type(
                torch.bool if c["use_parallel_residual"] else torch.uint8)
            out[p + "masked_bias"] = torch.tensor(-1e9)
            out[p + "rotary_emb.inv_freq"] = 10000.0 ** (-torch.arange(0, r, 2) / r)
    return out


def write_model(path, c, dtype, shards, rng):
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(c, f, indent=2, sort_keys=True)
        f.write("\n")
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.from_pretrained(path))
    tensors = {file_name(c, n): torch.tensor(random_tensor(rng, c, n, tuple(p.shape))).type(dtype)
               for n, p in model.named_parameters()}
    weights = {n: t.double() for n, t in tensors.items()}
    tensors |= leftovers(c)
    if shards == 1:
        save_file(tensors, os.path.join(path, "model.safetensors"), {"format": "pt"})
        return weights
    names, where = list(tensors), {}
    for s in range(shards):
        shard = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        part = names[len(names) * s // shards:len(names) * (s + 1) // shards]
        where |= {n: shard for n in part}
        save_file({n: tensors[n] for n in part}, os.path.join(path, shard), {"format": "pt"})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": size}, "weight_map": where}, f, indent=2)
        f.write("\n")
    return weights


# ---- the library's values ----------------------------------------------------------------------

def stop_float32():
    """What the library casts to float32 stays (or becomes) float64."""
    to, softmax = torch.Tensor.to, F.softmax

    def wide(x):
        return torch.float64 if x is torch.float32 else x

    torch.Tensor.to = lambda self, *a, **k: to(self, *map(wide, a),
                                               **{n: wide(v) for n, v in k.items()})
    torch.Tensor.float = torch.Tensor.double
    F.softmax = lambda x, dim=None, dtype=None, **k: softmax(x, dim=dim)


def watch(model, c, seen):
    """Fill seen[hook] with the tensors of the next pass."""
    def keep(name, x):
        x.retain_grad()
        seen[name] = x

    def put_in(module, name):
        module.register_forward_pre_hook(lambda m, args: keep(name, args[0]))

    def put_out(module, name):
        module.register_forward_hook(
            lambda m, args, out: keep(name, out[0] if isinstance(out, tuple) else out))

    core = model.transformer if c["model_type"] == "gpt2" else \
        model.gpt_neox if c["model_type"] == "gpt_neox" else model.model
    blocks = core.h if c["model_type"] == "gpt2" else core.layers
    put_in(blocks[0], "resid_pre.0")
    for l, b in enumerate(blocks):
        put_out(b, f"resid_post.{l}")
        if c["model_type"] == "gpt2":
            attn, mlp, z, act, second = b.attn, b.mlp, b.attn.c_proj, b.mlp.c_proj, b.ln_2
        elif c["model_type"] == "gpt_neox":
            attn, mlp, z, act = b.attention, b.mlp, b.attention.dense, b.mlp.dense_4h_to_h
            second = b.post_attention_layernorm
        else:
            attn, mlp, z, act = b.self_attn, b.mlp, b.self_attn.o_proj, b.mlp.down_proj
            second = b.post_attention_layernorm
        if is_gemma(c):
            attn, mlp = b.post_attention_layernorm, b.post_feedforward_layernorm
            second = b.pre_feedforward_layernorm
        put_in(z, f"attn_z.{l}")
        put_out(attn, f"attn_out.{l}")
        if not c.get("use_parallel_residual"):
            put_in(second, f"resid_mid.{l}")
        put_in(act, f"mlp_act.{l}")
        put_out(mlp, f"mlp_out.{l}")


def losses(logits, tok):
    return F.cross_entropy(logits[:-1], tok[1:], reduction="none")


def library_values(path, c, contexts):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float64, attn_implementation="eager").eval()
    for n, t in list(model.named_parameters()) + list(model.named_buffers()):
        assert t.dtype == torch.float64 or not t.is_floating_point(), n
    seen, rows = {}, {}
    watch(model, c, seen)
    for tok in contexts:
        logits = model(input_ids=tok[None], use_cache=False).logits[0]
        ce = losses(logits, tok)
        ce.sum().backward()
        values = {"logits": logits, "ce": F.pad(ce, (0, 1))}
        for name, x in seen.items():
            values[name], values["grad." + name] = x[0], x.grad[0]
        for name, x in values.items():
            rows.setdefault(name, []).append(x.detach())
    out = {n: torch.cat(x) for n, x in rows.items()}
    out |= {"gradw." + file_name(c, n): p.grad for n, p in model.named_parameters()}
    return out


# ---- the same from the equations ---------------------------------------------------------------

def rope_frequencies(c, h, layer_slides):
    r, theta = h, c.get("rope_theta", 10000.0)
    scaling = c.get("rope_scaling")
    if c["model_type"] == "gpt_neox":
        r, theta = int(h * c["rotary_pct"]), c["rotary_emb_base"]
    if c["model_type"] == "gemma3_text" and layer_slides:
        theta, scaling = c["rope_local_base_freq"], None
    f = torch.tensor([theta ** (-2 * m / r) for m in range(r // 2)], dtype=torch.float64)
    if scaling is None:
        return f
    if scaling.get("rope_type", scaling.get("type")) == "linear":
        return f / scaling["factor"]
    lo, hi = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * f / (2 * math.pi)
    s = ((turns - lo) / (hi - lo)).clamp(0, 1)
    return (1 - s) * f / scaling["factor"] + s * f


def rotate(x, f):
    """x [heads, T, h]"""
    angle = torch.arange(x.shape[1])[:, None] * f
    n, co, si = len(f), angle.cos(), angle.sin()
    a, b = x[..., :n], x[..., n:2 * n]
    return torch.cat((a * co - b * si, b * co + a * si, x[..., 2 * n:]), -1)


def slides(c, l):
    kind = c["model_type"]
    if kind == "gemma2":
        return l % 2 == 0
    if kind == "gemma3_text":
        return (l + 1) % c["sliding_window_pattern"] != 0
    return kind == "mistral"


class Plain:
    """One forward pass; w maps names in the file to float64 tensors. Fills seen[hook]; `zero` names
    a hook whose values become zero in all rows but the first."""

    def __init__(self, c, w, zero=None):
        self.c, self.w, self.kind, self.zero = c, w, c["model_type"], zero
        self.seen = {}
        gpt2 = self.kind == "gpt2"
        self.heads = c["n_head" if gpt2 else "num_attention_heads"]
        self.layers = c["n_layer" if gpt2 else "num_hidden_layers"]
        self.h = c.get("head_dim", c["n_embd" if gpt2 else "hidden_size"] // self.heads)
        self.eps = c["layer_norm_epsilon" if gpt2 else
                     "layer_norm_eps" if self.kind == "gpt_neox" else "rms_norm_eps"]

    def at(self, hook, x):
        if hook == self.zero:
            x = torch.cat((x[:1], torch.zeros_like(x[1:])))
        self.seen[hook] = x
        return x

    def linear(self, x, name):
        w, b = self.w[name + ".weight"], self.w.get(name + ".bias")
        y = x @ (w if self.kind == "gpt2" else w.T)
        return y if b is None else y + b

    def norm(self, x, name):
        w = self.w[name + ".weight"]
        if self.kind in ("gpt2", "gpt_neox"):
            x = x - x.mean(-1, keepdim=True)
            return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * w \
                + self.w[name + ".bias"]
        w = 1 + w if is_gemma(self.c) else w
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * w

    def split(self, x):
        return x.unflatten(-1, (-1, self.h)).transpose(0, 1)

    def qkv(self, x, p, l):
        if self.kind == "gpt2":
            return [self.split(y) for y in self.linear(x, p + "attn.c_attn").chunk(3, -1)]
        if self.kind == "gpt_neox":
            y = self.linear(x, p + "attention.query_key_value")
            q, k, v = y.unflatten(-1, (self.heads, 3, self.h)).permute(2, 1, 0, 3)
        else:
            q, k, v = (self.split(self.linear(x, f"{p}self_attn.{n}_proj")) for n in "qkv")
        if p + "self_attn.q_norm.weight" in self.w:
            q, k = self.norm(q, p + "self_attn.q_norm"), self.norm(k, p + "self_attn.k_norm")
        f = rope_frequencies(self.c, self.h, slides(self.c, l))
        return rotate(q, f), rotate(k, f), v

    def attention(self, x, p, l):
        q, k, v = self.qkv(x, p, l)
        group = self.heads // len(k)
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        s = q @ k.transpose(1, 2) / math.sqrt(self.c.get("query_pre_attn_scalar", self.h))
        s = self.cap(s, "attn_logit_softcapping")
        i = torch.arange(len(x))
        back = i[:, None] - i
        hidden = back < 0
        if slides(self.c, l):
            hidden |= back >= self.c["sliding_window"]
        z = (s.masked_fill(hidden, -math.inf).softmax(-1) @ v).transpose(0, 1).flatten(1)
        names = {"gpt2": "attn.c_proj", "gpt_neox": "attention.dense"}
        return self.linear(self.at(f"attn_z.{l}", z), p + names.get(self.kind, "self_attn.o_proj"))

    def mlp(self, x, p, l):
        out = "mlp.down_proj"
        if self.kind == "gpt2":
            y, out = self.gelu_tanh(self.linear(x, p + "mlp.c_fc")), "mlp.c_proj"
        elif self.kind == "gpt_neox":
            y, out = self.linear(x, p + "mlp.dense_h_to_4h"), "mlp.dense_4h_to_h"
            y = y * (1 + torch.erf(y / math.sqrt(2))) / 2
        else:
            g = self.linear(x, p + "mlp.gate_proj")
            g = self.gelu_tanh(g) if is_gemma(self.c) else g / (1 + torch.exp(-g))
            y = g * self.linear(x, p + "mlp.up_proj")
        return self.linear(self.at(f"mlp_act.{l}", y), p + out)

    @staticmethod
    def gelu_tanh(x):
        return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))) / 2

    def cap(self, x, key):
        cap = self.c.get(key)
        return x if cap is None else cap * torch.tanh(x / cap)

    def block(self, x, l):
        gpt2, gemma = self.kind == "gpt2", is_gemma(self.c)
        p = f"h.{l}." if gpt2 else \
            ("gpt_neox" if self.kind == "gpt_neox" else "model") + f".layers.{l}."
        first, second = ("ln_1", "ln_2") if gpt2 else (
            "input_layernorm",
            "pre_feedforward_layernorm" if gemma else "post_attention_layernorm")
        a = self.attention(self.norm(x, p + first), p, l)
        if gemma:
            a = self.norm(a, p + "post_attention_layernorm")
        a = self.at(f"attn_out.{l}", a)
        y = x if self.c.get("use_parallel_residual") else self.at(f"resid_mid.{l}", x + a)
        m = self.mlp(self.norm(y, p + second), p, l)
        if gemma:
            m = self.norm(m, p + "post_feedforward_layernorm")
        m = self.at(f"mlp_out.{l}", m)
        return self.at(f"resid_post.{l}", x + a + m if y is x else y + m)

    def logits(self, tok):
        w = self.w
        embed, norm, head = {
            "gpt2": ("wte", "ln_f", "wte"),
            "gpt_neox": ("gpt_neox.embed_in", "gpt_neox.final_layer_norm", "embed_out"),
        }.get(self.kind, ("model.embed_tokens", "model.norm", "lm_head"))
        x = w[embed + ".weight"][tok]
        if self.kind == "gpt2":
            x = x + w["wpe.weight"][:len(tok)]
        if is_gemma(self.c):
            x = x * math.sqrt(self.c["hidden_size"])
        x = self.at("resid_pre.0", x)
        for l in range(self.layers):
            x = self.block(x, l)
        out = w[(head if head + ".weight" in w else embed) + ".weight"]
        return self.cap(self.norm(x, norm) @ out.T, "final_logit_softcapping")


def plain_values(c, weights, contexts):
    w = {n: t.clone().requires_grad_() for n, t in weights.items()}
    passes = [Plain(c, w) for _ in contexts]
    logits = [p.logits(tok) for p, tok in zip(passes, contexts)]
    for p in passes:
        for x in p.seen.values():
            x.retain_grad()
    ce = [losses(z, tok) for z, tok in zip(logits, contexts)]
    sum(x.sum() for x in ce).backward()
    out = {"logits": torch.cat(logits), "ce": torch.cat([F.pad(x, (0, 1)) for x in ce])}
    for hook in passes[0].seen:
        out[hook] = torch.cat([p.seen[hook] for p in passes])
        out["grad." + hook] = torch.cat([p.seen[hook].grad for p in passes])
    return {n: x.detach() for n, x in out.items()} | {"gradw." + n: t.grad for n, t in w.items()}


def ablated_losses(c, weights, contexts, hooks):
    """Losses with a hook's values zero, but for the first row of a context, which stays."""
    return {"zero." + hook: torch.cat([F.pad(losses(Plain(c, weights, hook).logits(tok), tok),
                                             (0, 1)) for tok in contexts]) for hook in hooks}


def check(name, values, plain):
    assert values.keys() == plain.keys(), values.keys() ^ plain.keys()
    for n, a in values.items():
        off = ((a - plain[n]).abs().max() / a.abs().max()).item()
        assert off < 1e-12, f"{name}: {n} differs by {off:.2g} of its largest value"


def describe(name, values, path):
    kib = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path)) / 1024
    ce = values["ce"][values["ce"] != 0]
    big = {n: values[n].abs().max().item() for n in ("logits", "resid_pre.0", "grad.resid_pre.0")}
    print(f"{name}: {kib:.0f} KiB, ce {ce.mean():.3f}, largest "
          + ", ".join(f"{n} {v:.3g}" for n, v in big.items()))


def make(out, name):
    c, dtype, shards = MODELS[name]
    path = os.path.join(out, name)
    os.makedirs(path, exist_ok=True)
    rng = np.random.RandomState(1000 + list(MODELS).index(name))
    weights = write_model(path, c, dtype, shards, rng)
    # every context begins with BOS; id 0 pads, and the library gives padding no gradient
    contexts = [torch.tensor([c["bos_token_id"], *rng.randint(1, VOCAB, n - 1)]) for n in LENGTHS]
    values = library_values(path, c, contexts)
    check(name, values, plain_values(c, weights, contexts))
    hooks = [n[5:] for n in values if n.startswith("grad.")]
    values |= ablated_losses(c, weights, contexts, hooks)
    golden = {n: v.numpy().astype("float32") for n, v in values.items()}
    golden["tok"] = torch.cat(contexts).numpy().astype("int32")
    golden["start"] = np.cumsum([0, *LENGTHS]).astype("int32")
    save_numpy(golden, os.path.join(path, "golden.safetensors"))
    for f in os.listdir(path):
        os.chmod(os.path.join(path, f), 0o644)
    describe(name, values, path)


def main():
    if len(sys.argv) < 2 or any(n not in MODELS for n in sys.argv[2:]):
        sys.exit(f"usage: lm.py DIRECTORY [{'|'.join(MODELS)}]...")
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, transformers "
          f"{transformers.__version__}, numpy {np.__version__}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    stop_float32()
    for name in sys.argv[2:] or MODELS:
        make(sys.argv[1], name)


if __name__ == "__main__":
    main()
