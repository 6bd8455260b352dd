"""scripts/golden/metric_steering.py - writes the golden file of that family from the definitions of
metrics/steering.md: python3 scripts/golden/metric_steering.py, in the repository's root.

Changed rows and log-probabilities are float, which is why shifts and costs are marked as float.
"""
import math
import random

from labelled import case_of, eighth, make_rows, part_of
from metric import dot, group, logprob, norm, number, one, put, ratio, write

D, N, V, CUT = 4, 8, 7, 3
STRENGTH, PURITY, SEEN, VOCAB = 2, 0.7, 5, 6
CHANGES = ("amplify", "suppress", "swap", "dim")


class Rows:
    def __init__(self, c, z):
        self.c, self.z, self.lm = c, z, c["lm"]
        self.every, self.docs = range(len(z)), [t[0] for t in c["tok"]]
        self.label = c["labels"][1]
        self.test = [part_of(doc) == "test" for doc in self.docs]
        self.learn()

    def pole(self, i):
        return {0: 0, len(self.label["classes"]) - 1: 1}.get(self.label["of"][i])

    def mean(self, pole, table):
        return [math.fsum(col) / len(self.train[pole])
                for col in zip(*(table[i] for i in self.train[pole]))]

    def learn(self):
        """Latent, its size m and sign, the difference of means, the target tokens."""
        self.train = [[i for i in self.every if self.pole(i) == p and not self.test[i]]
                      for p in (0, 1)]
        a, b = (self.mean(p, self.z) for p in (0, 1))
        score = {}
        for j in range(N):
            active = [abs(self.z[i][j]) for p in (0, 1) for i in self.train[p] if self.z[i][j]]
            m = math.fsum(active) / len(active) if active else 1.0
            score[j] = (abs(a[j] - b[j]) / m, m)
        best = sorted(score, key=lambda j: -score[j][0])
        assert score[best[0]][0] > 1.01 * score[best[1]][0]
        self.latent, self.m = best[0], score[best[0]][1]
        self.sign = math.copysign(1, a[self.latent] - b[self.latent])
        xa, xb = (self.mean(p, self.c["x"]) for p in (0, 1))
        self.apart = [u - v for u, v in zip(xa, xb)]
        used = [[self.lm["next"][i] for i in self.train[p]] for p in (0, 1)]
        self.target = [[], []]
        for v in range(VOCAB):
            rate = [u.count(v) / sum(w < VOCAB for w in u) for u in used]
            for p in (0, 1):
                if rate[p] >= PURITY * sum(rate) and used[0].count(v) + used[1].count(v) >= SEEN:
                    self.target[p].append(v)

    def changed(self, i, change):
        atom, z = self.c["W_dec"][self.latent], self.z[i][self.latent]
        by = [self.c["norm"][i][0] * w for w in atom]
        if change == "dim":
            by = [STRENGTH * self.m * norm(by) * v / norm(self.apart) for v in self.apart]
            return [u + v for u, v in zip(self.c["x"][i], by)]
        to = {"amplify": self.sign * STRENGTH * self.m, "suppress": 0, "swap": -z}[change]
        return [u + (to - z) * v for u, v in zip(self.c["x"][i], by)]

    def odds(self, lp):
        share = [math.fsum(math.exp(lp[v]) for v in self.target[p]) for p in (0, 1)]
        return math.log(share[0] / share[1])

    def effects(self, change):
        """Of every token of a test document (group, cost, of a row of a pole, shift). A token that
        SAEs do not see precedes every third row."""
        out = []
        for i in self.every:
            pole, before = self.pole(i), logprob(self.lm["head"], self.c["x"][i])
            if not self.test[i]:
                continue
            if i % CUT == 0:
                out.append((group(self.docs[i]), 0.0, 0, 0.0))
            if pole is None:
                out.append((group(self.docs[i]), 0.0, 0, 0.0))
                continue
            after = logprob(self.lm["head"], self.changed(i, change))
            token, shift = self.lm["next"][i], self.odds(after) - self.odds(before)
            away = pole == 0 and change in ("suppress", "swap")
            out.append((group(self.docs[i]), before[token] - after[token], 1,
                        -shift if away else shift))
        return out


def data(seed, negative):
    """Next tokens 0, 1, 6 follow the first class mostly, 2 and 3 the last; 6 is not looked at."""
    rng = random.Random(seed)
    raw = make_rows(seed, 40, 4, D, N, [2, 3], negative)
    c = case_of("", raw, [2, 3], {"signed": negative})
    del c["xhat"]
    c["W_dec"] = [[eighth(rng.gauss(0, 1)) for _ in range(D)] for _ in range(N)]
    own = {0: [0, 1, 6], 2: [2, 3]}
    c["lm"] = {"head": [[eighth(rng.gauss(0, 0.5)) for _ in range(D)] for _ in range(V)],
               "next": [rng.choice(own[k]) if k in own and rng.random() < 0.7 else rng.randrange(V)
                        for k in raw["of"][1]]}
    c["norm"] = [[rng.choice([0.5, 1, 2]), 0] for _ in raw["z"]]
    return c, raw["z"]


def measure(seed, negative):
    c, z = data(seed, negative)
    c["metric"] = (f"steering:label=label1,strength={STRENGTH},purity={PURITY},seen={SEEN},"
                   f"vocab={VOCAB}")
    rows = Rows(c, z)
    assert all(rows.target)
    out = {"latent": number(rows.latent), "target_tokens": number(sum(map(len, rows.target)))}
    se = dict.fromkeys(out)
    for change in CHANGES:
        told = rows.effects(change)
        put(out, se, change + "_shift", told, ratio(lambda r: r[3], lambda r: r[2]), 1 / 4, True)
        put(out, se, change + "_ce", told, ratio(lambda r: r[1], one), 1 / 4, True)
    return {**c, "rows": out, "se": se}


def nothing(options, latent):
    return {**data(11, False)[0], "metric": "steering" + options,
            "rows": {"latent": number(latent), "target_tokens": number(0)}}


some = measure(11, False)
write("steering", D, N, [some, measure(12, True), nothing("", -1), nothing(":label=none", -1),
                         nothing(":label=label1,seen=1000", some["rows"]["latent"][0])])
