"""scripts/golden/metric_unlearning.py - writes the golden file of that family from the definitions
of metrics/unlearning.md: python3 scripts/golden/metric_unlearning.py, in the repository's root.

Changed rows are float, which is why losses are marked as float.
"""
import math
import random

from labelled import case_of, eighth, make_rows, part_of
from metric import group, logprob, number, put, ratio, write

D, N, V, CLASS = 4, 8, 6, 2
STRENGTHS, LIMIT = (0, 1, 4), 0.01


class Rows:
    """stock: only values above 0 are active."""

    def __init__(self, c, z, features, density, stock):
        self.c, self.z, self.stock = c, z, stock
        of = c["labels"][1]["of"]
        self.seen = [i for i in range(len(z)) if of[i] >= 0]
        self.concept = [k == CLASS for k in of]
        self.test = [part_of(t[0]) == "test" for t in c["tok"]]
        train = [i for i in self.seen if not self.test[i]]
        count = lambda j, on: sum(self.active(i, j) for i in train if self.concept[i] == on)
        others = sum(not self.concept[i] for i in train)
        rare = [j for j in range(N) if count(j, True) and count(j, False) < density * others]
        self.latents = sorted(rare, key=lambda j: (-count(j, True), j))[:features]
        self.m = {}
        for j in self.latents:
            sizes = [abs(z[i][j]) for i in train if self.active(i, j)]
            self.m[j] = math.fsum(sizes) / len(sizes)

    def active(self, i, j):
        return self.z[i][j] > 0 or (self.z[i][j] < 0 and not self.stock)

    def cost(self, i, times):
        """Increase of the loss at a row whose chosen latents are clamped."""
        x, token = self.c["x"][i], self.c["lm"]["next"][i]
        clamped = list(x)
        for j in self.latents:
            if self.active(i, j):
                to = -math.copysign(times * self.m[j], self.z[i][j])
                by = self.c["norm"][i][0] * (to - self.z[i][j])
                clamped = [a + by * b for a, b in zip(clamped, self.c["W_dec"][j])]
        head = self.c["lm"]["head"]
        return logprob(head, x)[token] - logprob(head, clamped)[token]

    def told(self, times, test):
        """(group, concept, cost) of the tokens of either part."""
        return [(group(self.c["tok"][i][0]), self.concept[i], self.cost(i, times))
                for i in self.seen if self.test[i] == test]


def side(concept):
    return ratio(lambda r: (r[1] == concept) * r[2], lambda r: r[1] == concept)


def best(rows):
    """The strength of `score`; None: every one costs too much, or takes nothing."""
    fit = {t: [side(on)(rows.told(t, False)) for on in (True, False)] for t in STRENGTHS}
    assert all(abs(retain - LIMIT) > 1e-4 for _, retain in fit.values())
    free = [t for t in STRENGTHS if fit[t][1] <= LIMIT and fit[t][0] > 0]
    return max(free, key=lambda t: fit[t][0]) if free else None


def data(seed, negative):
    rng = random.Random(seed)
    raw = make_rows(seed, 40, 4, D, N, [2, 3], negative)
    c = case_of("", raw, [2, 3], {"signed": negative})
    del c["xhat"]
    c["W_dec"] = [[eighth(rng.gauss(0, 1)) for _ in range(D)] for _ in range(N)]
    c["lm"] = {"head": [[eighth(rng.gauss(0, 0.5)) for _ in range(D)] for _ in range(V)],
               "next": [rng.randrange(V) for _ in raw["z"]]}
    c["norm"] = [[rng.choice([0.25, 0.5]), 0] for _ in raw["z"]]
    return c, raw["z"]


def measure(seed, negative, features, density):
    c, z = data(seed, negative)
    c["metric"] = (f"unlearning:label=label1,class={CLASS},features={features},"
                   f"retain_density={density}")
    out, se = {}, {}
    for end, stock in (("", False), ("_stock", True))[:1 + negative]:
        rows = Rows(c, z, features, density, stock)
        if not stock:
            out["latents"], se["latents"] = number(len(rows.latents)), None
        for t in STRENGTHS:
            for name, concept in (("forget", True), ("retain", False)):
                put(out, se, f"{name}_x{t}{end}", rows.told(t, True), side(concept), 1 / 4, True)
        t = best(rows)
        value = side(True) if t is not None else lambda r: 0.0
        put(out, se, "score" + end, rows.told(t or 0, True), value, 1 / 4, True)
    return {**c, "rows": out, "se": se}


def nothing(options):
    return {**data(1, False)[0], "metric": "unlearning" + options, "rows": {"latents": number(0)},
            "se": {"latents": None}}


write("unlearning", D, N, [measure(35, False, 2, 0.3), measure(30, True, 3, 0.3),
                           measure(42, True, 2, 0.3), nothing(""), nothing(":label=label1,class=3")])
