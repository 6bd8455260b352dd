"""scripts/golden/philox.py - the counter-based random numbers of sae/rng.h."""
WORD = (1 << 32) - 1


def philox(seed, stream, row, i):
    """Philox4x32-10 (Salmon et al. 2011): key = seed, counter = (row low, row high, i, stream)."""
    a, b, c, d = row & WORD, row >> 32, i, stream
    k, l = seed & WORD, seed >> 32
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k, q & WORD, (p >> 32) ^ d ^ l, p & WORD
        k, l = (k + 0x9E3779B9) & WORD, (l + 0xBB67AE85) & WORD
    return a, b, c, d


# Random123's known answers
assert philox(0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
assert philox((1 << 64) - 1, WORD, (1 << 64) - 1, WORD) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
