/* suite/bench/harness/turns.c - repetitions in turn with another program.
 *
 * SAE_BENCH_TURNS is the number of an open socket. A byte out of it says that this program takes
 * turns; from then on each repetition waits for a byte, and a byte says that it is over. Who holds
 * the other end lets two programs run side by side, one at a time: what slows a machine down for a
 * second then meets both. Without an answer there the program goes on alone.
 */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int fd = -1;

static bool say(void)
{
    return send(fd, "", 1, MSG_NOSIGNAL) == 1;
}

void sbh_turns_open(void)
{
    const char *text = getenv("SAE_BENCH_TURNS");
    char *end;
    fd = text && *text ? (int)strtol(text, &end, 10) : -1;
    if (fd >= 0 && (*end || !say()))
        fd = -1;
}

void sbh_turn_begin(void)
{
    char byte;
    ssize_t got = 1;
    while (fd >= 0 && (got = read(fd, &byte, 1)) < 0 && errno == EINTR && !sbh_stopped())
        continue;
    if (got != 1)
        fd = -1;
}

void sbh_turn_end(void)
{
    if (fd >= 0 && !say())
        fd = -1;
}
