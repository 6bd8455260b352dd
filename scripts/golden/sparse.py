"""scripts/golden/sparse.py - "select entries of pre, decode, revive" on the numbers of number.py.

    pre = (x - b_dec) W_enc^T + b_enc    z = selected entries    xhat = z W_dec + b_dec

A code is a dictionary (row, feature) -> Num. Equations: variants/topk.md, batchtopk.md.
"""
import math

from number import Inputs, Num, grad, grad_pairs, listing, pairs, total

B, D, N = 4, 3, 8


def tensors(seed):
    rnd = Inputs(seed)
    return {"W_enc": rnd.matrix(N, D), "b_enc": rnd.matrix(1, N, -4, 4),
            "W_dec": rnd.matrix(N, D), "b_dec": rnd.matrix(1, D, -4, 4)}, rnd.matrix(B, D)


def encode(p, x):
    return [[total((Num(x[r][i]) - p["b_dec"][0][i]) * p["W_enc"][j][i] for i in range(D))
             + p["b_enc"][0][j] for j in range(N)] for r in range(B)]


def ranked(pre, cells, key="relu"):
    """Eligible cells by score descending, then row and feature."""
    def score(cell):
        v = pre[cell[0]][cell[1]].v
        return abs(v) if key == "abs" else v
    return sorted((c for c in cells if score(c) > 0), key=lambda c: (-score(c), c))


def cells():
    return [(r, j) for r in range(B) for j in range(N)]


def code(pre, kept):
    return {c: pre[c[0]][c[1]] for c in kept}


def best_of_batch(pre, k, key="relu"):
    return code(pre, ranked(pre, cells(), key)[:int(min(k, N) * B)])


def best_of_rows(pre, k, features, key="relu"):
    kept = []
    for r in range(B):
        kept += ranked(pre, [(r, j) for j in features], key)[:k]
    return code(pre, kept)


def decode(p, z, bias=True, features=range(N)):
    out = [[b if bias else Num(0) for b in p["b_dec"][0]] for _ in range(B)]
    for (r, j), v in sorted(z.items()):
        if j in features:
            out[r] = [a + v * w for a, w in zip(out[r], p["W_dec"][j])]
    return out


def minus(a, b):
    return [[u - v for u, v in zip(r, s)] for r, s in zip(a, b)]


def detach(m):
    return [[v.detach() for v in row] for row in m]


def mean_square(m):
    return total(v * v for row in m for v in row) / len(m)


def variance(m):
    """Total variance of the rows, a constant."""
    m = detach([[v if isinstance(v, Num) else Num(v) for v in row] for row in m])
    mean = [total(column) / len(m) for column in zip(*m)]
    return total((v - a) * (v - a) for row in m for v, a in zip(row, mean)) / len(m)


def mse_scale(how, y):
    return {"row": lambda: Num(1), "element": lambda: Num(1) / len(y[0]),
            "fvu": lambda: 1 / variance(y)}[how]()


def fired_now(case, z):
    """last_fired with the batch of z, and the clock after it."""
    now, fired = case["tokens"] + B, list(case["last_fired"])
    for (_, j), v in z.items():
        if v.v != 0:
            fired[j] = now
    return now, fired


def auxk(p, case, pre, z, resid, scale, weight=None):
    """(loss, coefficient) of AuxK; weight [N]: further features that take part, and how much."""
    now, fired = fired_now(case, z)
    share = [1.0 if now - fired[j] >= case["dead"] else weight[j] if weight else 0.0
             for j in range(N)]
    listed = [j for j in range(N) if share[j] > 0]
    if not case["alpha"] or not listed:
        return Num(0), Num(0)
    aux = best_of_rows(pre, case["k_aux"], listed, case.get("key", "relu"))
    ehat = decode(p, {c: v * share[c[1]] for c, v in aux.items()}, bias=False)
    e = detach(resid) if case["auxk_detach"] else resid
    err = [[u + v for u, v in zip(r, s)] for r, s in zip(ehat, e)]
    coef = case["alpha"] * (1 / variance(resid) if case["auxk_norm"] == "residual" else scale)
    if case["auxk_scale"]:
        coef = coef * min(len(listed) / case["k_aux"], 1)
    return mean_square(err), coef


def theta_after(case, z, theta):
    smallest = min((abs(v.v) for v in z.values() if v.v != 0), default=None)
    if smallest is None:
        return theta
    if theta < 0:
        theta = smallest if case["theta_first"] == "set" else 0.0
    return theta + case["theta_rate"] * (smallest - theta)


def above(pre, theta, key="relu"):
    """theta: one number, or one per feature."""
    at = theta if isinstance(theta, list) else [theta] * N
    kept = ranked(pre, cells(), key)
    return code(pre, [(r, j) for r, j in kept if abs(pre[r][j].v) > at[j]])


def trained(p, z, xhat, loss, coef):
    """The part "train" of a case; leaves gradients of sum coef * loss on p."""
    grad(total(c.detach() * v for c, v in zip(coef, loss)))
    return {"code": listing(z), "xhat": pairs(xhat), "loss": pairs([loss]), "coef": pairs([coef]),
            "grad": {name: grad_pairs(m) for name, m in p.items()}}


def double(values):
    """STATE of doubles computed from exact numbers."""
    return [list(values), [abs(v) for v in values], True]


def options(case, names):
    return ",".join("%s=%s" % (n, case[n]) for n in names)


AUXK = ["k_aux", "dead", "auxk_norm", "auxk_scale", "auxk_detach", "mse"]


def aux_options(case):
    return "auxk=%r," % case["alpha"] + options(case, AUXK)


DEFAULT = {"alpha": 1 / 32, "k_aux": 2, "dead": 100, "auxk_norm": "residual", "auxk_scale": 0,
           "auxk_detach": 1, "tokens": 1000, "last_fired": [1000, 10, 996, 900, 1000, 20, 904, 903],
           "mse": "row", "k": 2.5, "theta_first": "set", "theta_rate": 0.01}


def uniform(words):
    """In (0, 1), 52 bits of the first two words."""
    return math.ldexp(((words[0] << 32 | words[1]) >> 12) + 0.5, -52)
