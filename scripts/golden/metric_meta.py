"""scripts/golden/metric_meta.py - writes the golden file of that family from the definitions of
metrics/meta.md: python3 scripts/golden/metric_meta.py, in the repository's root. Random numbers are
those of sae/rng.h.

Training is in float, of which a value is to take at most 64 roundings: what goes into a code is
apart from what does not, and gradients are 0 or much larger than their rounding, to which Adam
would give the size of a step. So no latent may be alone in the codes of a first step: it starts as
its direction, to which the error is then orthogonal.
"""
import math

from metric import dot, number, unit, world, write
from philox import philox

D, N = 5, 12
SHUFFLE, PROBE = 2, 5  # streams


def normal(seed, row, i):
    """Box-Muller, two from each pair of words."""
    words = philox(seed, PROBE, row, i // 4)[i & 2:][:2]
    u, v = (((w >> 9) + 0.5) * 2.0 ** -23 for w in words)
    return math.sqrt(-2 * math.log(u)) * (math.sin if i & 1 else math.cos)(2 * math.pi * v)


def permute(seed, epoch, rows, i):
    """Feistel network of four rounds on the smallest even number of bits; again until in range."""
    half = next(h for h in range(1, 33) if 4 ** h >= rows)
    while True:
        left, right = divmod(i, 2 ** half)
        for k in range(4):
            word = philox(seed, SHUFFLE, right | epoch << 32, k)[0]
            left, right = right, (left ^ word) % 2 ** half
        i = left * 2 ** half + right
        if i < rows:
            return i


class Trainer:
    """Parameters are lists of rows: enc and dec [m x D], b_enc [1 x m], b_dec [1 x D]."""

    def __init__(self, atoms, m, k, signed, lr, seed):
        self.x, self.k, self.signed, self.lr, self.t = [unit(w) for w in atoms], k, signed, lr, 0
        start = [unit([normal(seed, j, i) for i in range(D)]) for j in range(m)]
        mean = [0.0] * D if signed else [math.fsum(c) / len(atoms) for c in zip(*self.x)]
        self.p = {"enc": start, "dec": start, "b_enc": [[0.0] * m], "b_dec": [mean]}
        self.moments = {name: [[(0.0, 0.0)] * len(r) for r in w] for name, w in self.p.items()}

    def encode(self, x):
        """The k B largest of the batch, of the positive ones or of all without sign."""
        bias, centre = self.p["b_enc"][0], self.p["b_dec"][0]
        z = [[dot(w, [a - b for a, b in zip(row, centre)]) + c
              for w, c in zip(self.p["enc"], bias)] for row in x]
        key = lambda v: abs(v) if self.signed else max(v, 0.0)
        order = sorted((key(v) for row in z for v in row), reverse=True) + [0.0]
        least, next_ = order[self.k * len(x) - 1:][:2]
        assert least == 0 or least - next_ > 1e-4
        assert all(abs(v) > 1e-4 for row in z for v in row if v)
        return [[v if key(v) >= least and key(v) > 0 else 0.0 for v in row] for row in z]

    def errors(self, x, z):
        return [[b + dot(row, column) - a for a, b, column in
                 zip(want, self.p["b_dec"][0], zip(*self.p["dec"]))] for want, row in zip(x, z)]

    def step(self, x):
        z, centre = self.encode(x), self.p["b_dec"][0]
        e = [[2 * v / len(x) for v in row] for row in self.errors(x, z)]
        of = range(len(self.p["dec"]))
        dz = [[dot(a, w) if v else 0.0 for v, w in zip(row, self.p["dec"])] for row, a in zip(z, e)]
        column = lambda table, j: [row[j] for row in table]
        outer = lambda by, rows: [[dot(column(by, j), c) for c in zip(*rows)] for j in of]
        dec = outer(z, e)
        for j, w in enumerate(self.p["dec"]):
            along = dot(dec[j], w)
            dec[j] = [a - along * b for a, b in zip(dec[j], w)]
        inner = [math.fsum(column(dz, j)) for j in of]
        grad = {"enc": outer(dz, [[a - b for a, b in zip(row, centre)] for row in x]), "dec": dec}
        if not self.signed:
            grad["b_enc"] = [inner]
            grad["b_dec"] = [[math.fsum(column(e, i)) - dot(inner, column(self.p["enc"], i))
                              for i in range(D)]]
        self.t += 1
        for name, g in grad.items():
            self.p[name] = [[self.adam(name, r, c, v) for c, v in enumerate(row)]
                            for r, row in enumerate(g)]
        self.p["dec"] = [unit(w) for w in self.p["dec"]]

    def adam(self, name, r, c, g):
        m, v = self.moments[name][r][c]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        self.moments[name][r][c] = m, v
        m, v = m / (1 - 0.9 ** self.t), v / (1 - 0.999 ** self.t)
        assert v == 0 or v > 1e-6
        return self.p[name][r][c] - self.lr * m / (math.sqrt(v) + 1e-8)


def measure(atoms, signed, steps, width, k, batch, lr, seed):
    q = Trainer(atoms, math.ceil(width * N), k, signed, lr, seed)
    per_epoch = N // min(batch, N)
    for s in range(steps):
        epoch, at = divmod(s, per_epoch)
        order = [permute(seed, epoch, N, i) for i in range(N)]
        assert sorted(order) == list(range(N))
        q.step([q.x[i] for i in order[at * batch:][:batch]])
    z = q.encode(q.x)
    sse = math.fsum(v * v for row in q.errors(q.x, z) for v in row)
    mean = [0.0] * D if signed else [math.fsum(c) / N for c in zip(*q.x)]
    spread = math.fsum((a - b) ** 2 for row in q.x for a, b in zip(row, mean))
    dead = sum(not any(column) for column in zip(*z)) / len(q.p["enc"])
    rows = {"explained": number(1 - sse / spread if spread > 1e-9 else math.nan, 1 / 16, True),
            "mse": number(sse / (N * D), 1 / (16 * D), True), "dead_share": number(dead)}
    return {"metric": f"meta:steps={steps},width={width},k={k},batch={batch},lr={lr},seed={seed}",
            "signed": signed, "W_dec": atoms, "rows": rows, "se": dict.fromkeys(rows)}


def atoms(seed):
    out = world(seed, 1, D, N)["W_dec"]
    out[3] = [0.0] * D
    return out


write("meta", D, N, [
    measure(atoms(1), False, 5, 0.45, 2, 5, 0.02, 15),
    measure(atoms(1), False, 3, 0.95, 1, 5, 0.02, 18),
    measure(atoms(2), True, 5, 0.5, 2, 12, 0.02, 13),
    measure(atoms(2), True, 3, 0.95, 1, 5, 0.02, 23),
    measure([[2.0] + [0.0] * (D - 1)] * N, False, 2, 0.25, 1, 20, 0.02, 1),
    {"metric": "meta", "W_dec": atoms(1), "rows": {}}, {"metric": "meta:steps=3", "rows": {}}])
