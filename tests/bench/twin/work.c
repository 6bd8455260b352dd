/* tests/bench/twin/work.c - a file of its own: no compiler sees both it and a caller. */
#include "work.h"

double work(int steps)
{
    double x = 1;
    for (int i = 0; i < steps; i++)
        x = x * 0.999 + 0.5;
    return x;
}
