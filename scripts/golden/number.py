"""scripts/golden/number.py - float64 numbers that know their size and their derivative.

Golden scripts write a variant's forward pass from its equations with these numbers; `grad` then
gives the derivative of a total with respect to any of them (reverse mode), so that no script
repeats a gradient by hand.

The size of a number is the sum of the absolute values of the terms it is made of. A computation in
precision u with fewer than m roundings on any path from input to output is off by at most m u size.
Gradients have sizes too. Python's own comparisons on `.v` make decisions; `detach` makes constants.
"""
import json
import math


class Num:
    def __init__(self, v, s=None, parents=()):
        self.v = float(v)
        self.s = abs(self.v) if s is None else s
        self.parents = parents  # (number, partial derivative, its size)
        self.g = self.gs = 0.0

    def __add__(self, o):
        o = num(o)
        return Num(self.v + o.v, self.s + o.s, ((self, 1.0, 1.0), (o, 1.0, 1.0)))

    __radd__ = __add__

    def __neg__(self):
        return Num(-self.v, self.s, ((self, -1.0, 1.0),))

    def __sub__(self, o):
        return self + (-num(o))

    def __rsub__(self, o):
        return num(o) + (-self)

    def __mul__(self, o):
        o = num(o)
        return Num(self.v * o.v, self.s * o.s, ((self, o.v, o.s), (o, self.v, self.s)))

    __rmul__ = __mul__

    def __truediv__(self, o):
        o = num(o)
        r, a = self.v / o.v, abs(o.v)
        rs = self.s / a + abs(self.v) * o.s / a ** 2
        return Num(r, rs, ((self, 1 / o.v, 1 / a * (o.s / a)), (o, -r / o.v, rs / a * (o.s / a))))

    def __rtruediv__(self, o):
        return num(o) / self

    def smooth(self, value, slope, curve):
        """value = f(self), slope = f', curve = an upper bound of |f''| near self."""
        size = abs(value) + abs(slope) * self.s
        return Num(value, size, ((self, slope, abs(slope) + curve * self.s),))

    def sqrt(self):
        r = math.sqrt(self.v)
        return self.smooth(r, 0.5 / r, 0.25 / r ** 3) if r else Num(0, 0)

    def exp(self):
        e = math.exp(self.v)
        return self.smooth(e, e, e)

    def log(self):
        return self.smooth(math.log(self.v), 1 / self.v, 1 / self.v ** 2)

    def tanh(self):
        t = math.tanh(self.v)
        return self.smooth(t, 1 - t * t, 2 * abs(t) * (1 - t * t))

    def power(self, p):
        """self^p for a positive number."""
        r = self.v ** p
        return self.smooth(r, p * r / self.v, abs(p * (p - 1) * r / self.v ** 2))

    def abs(self):
        return self if self.v >= 0 else -self

    def relu(self):
        return self if self.v > 0 else Num(0, 0)

    def detach(self):
        return Num(self.v, self.s)


def num(x):
    return x if isinstance(x, Num) else Num(x)


def total(terms):
    out = Num(0)
    for t in terms:
        out = out + t
    return out


def grad(loss):
    """Set g (and gs, its size) of every number that loss was computed from; others keep 0."""
    order, seen, stack = [], set(), [(loss, 0)]
    while stack:
        node, at = stack.pop()
        if at == 0:
            if id(node) in seen:
                continue
            seen.add(id(node))
        if at < len(node.parents):
            stack.append((node, at + 1))
            stack.append((node.parents[at][0], 0))
        else:
            order.append(node)
    for node in order:
        node.g = node.gs = 0.0
    loss.g = loss.gs = 1.0
    for node in reversed(order):
        for parent, slope, size in node.parents:
            parent.g += node.g * slope
            parent.gs += node.gs * size


class Inputs:
    """A fixed linear congruential generator; its numbers are small multiples of 1/8."""

    def __init__(self, seed):
        self.state = seed

    def next(self, lo, hi):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return lo + (self.state >> 33) % (hi - lo + 1)

    def matrix(self, rows, cols, lo=-10, hi=10):
        return [[self.next(lo, hi) / 8 for _ in range(cols)] for _ in range(rows)]


def numbers(m):
    """A matrix of leaves."""
    return [[Num(v) for v in row] for row in m]


def matmul(a, b):
    """a b^T: rows of a with rows of b."""
    return [[total(x * y for x, y in zip(r, c)) for c in b] for r in a]


def pairs(m):
    """[values, sizes] of a matrix, row by row."""
    flat = [num(v) for row in m for v in row]
    return [[v.v for v in flat], [v.s for v in flat]]


def grad_pairs(m):
    """The same of the gradients that grad() left on a matrix of leaves."""
    flat = [v for row in m for v in row]
    return [[v.g for v in flat], [v.gs for v in flat]]


def listing(z):
    """A code, {(row, feature): number}, as sorted [row, feature, value, size]."""
    return [[r, j, num(v).v, num(v).s] for (r, j), v in sorted(z.items())]


ADAM = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "clip": 1.0}
STEPS = 10


def unit_row(row):
    norm = math.sqrt(sum(v * v for v in row))
    return [v / norm for v in row] if norm else row


def curve(plain, total_at, unit=()):
    """Total losses of ten steps of projected, clipped Adam from the tensors `plain`. total_at(p,
    step) gives the total on the numbers p and moves what is not a gradient's; unit: names of the
    tensors whose rows keep unit norm."""
    w = {k: [unit_row(r) if k in unit else list(r) for r in m] for k, m in plain.items()}
    m1 = {k: [[0.0] * len(r) for r in m] for k, m in w.items()}
    m2 = {k: [[0.0] * len(r) for r in m] for k, m in w.items()}
    out = []
    for step in range(STEPS):
        p = {k: numbers(m) for k, m in w.items()}
        loss = total_at(p, step)
        grad(loss)
        out.append(loss.v)
        g = {k: [[v.g for v in r] for r in m] for k, m in p.items()}
        for k in unit:
            for row, at in zip(g[k], w[k]):
                along = sum(a * b for a, b in zip(at, row)) / (sum(a * a for a in at) or 1)
                row[:] = [a - along * b for a, b in zip(row, at)]
        norm = math.sqrt(sum(v * v for m in g.values() for r in m for v in r))
        scale = ADAM["clip"] / norm if norm > ADAM["clip"] else 1.0
        for k, m in w.items():
            for r, row in enumerate(m):
                for i in range(len(row)):
                    v = g[k][r][i] * scale
                    m1[k][r][i] += (1 - ADAM["beta1"]) * (v - m1[k][r][i])
                    m2[k][r][i] += (1 - ADAM["beta2"]) * (v * v - m2[k][r][i])
                    mean = m1[k][r][i] / (1 - ADAM["beta1"] ** (step + 1))
                    square = m2[k][r][i] / (1 - ADAM["beta2"] ** (step + 1))
                    row[i] -= ADAM["lr"] * mean / (math.sqrt(square) + ADAM["eps"])
                if k in unit:
                    row[:] = unit_row(row)
    return out


def write(generator, B, d, n, cases, **more):
    """Print the file that tests/golden/variants.c reads; see tests/golden/README.md."""
    out = dict({"generator": generator, "version": 1, "B": B, "d": d, "n": n}, **more, cases=cases)
    print(json.dumps(out, indent=None, separators=(",", ":")).replace('{"spec"', '\n{"spec"'))
