/* tests/kern/pursuit.c - sparse codes by greedy selection. */
#include "kern/kern.h"
void test_pursuit(void)
{
}
