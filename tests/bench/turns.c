/* tests/bench/turns.c - repetitions in turn with another program: nothing runs out of turn, and a
 * program that nobody answers goes on alone. */
#include "bench/harness/harness.h"
#include "support/support.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TURNS = 3, SOON = 50 }; /* SOON: milliseconds */

typedef struct player {
    pid_t pid;
    int socket, work; /* the other end of its turns; a byte per repetition comes out of this */
} player;

/* A program of TURNS repetitions. `fd`: what SAE_BENCH_TURNS says, NULL: its socket. */
static player start(const char *fd)
{
    int turns[2], work[2];
    char number[16];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, turns), 0);
    ck_assert_int_eq(pipe(work), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(turns[0]);
        snprintf(number, sizeof number, "%d", turns[1]);
        setenv("SAE_BENCH_TURNS", fd ? fd : number, 1);
        sbh_turns_open();
        for (int i = 0; i < TURNS; i++) {
            sbh_turn_begin();
            if (write(work[1], "", 1) != 1)
                _exit(1);
            sbh_turn_end();
        }
        _exit(0);
    }
    close(turns[1]);
    close(work[1]);
    return (player){pid, turns[0], work[0]};
}

static int waiting(int fd, int milliseconds)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, milliseconds) > 0;
}

static void hear(const player *p)
{
    char byte;
    ck_assert_int_eq(read(p->socket, &byte, 1), 1);
}

static void stop(player *p)
{
    int status;
    ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
    ck_assert_int_eq(status, 0);
    close(p->socket);
    close(p->work);
}

static int64_t count_work(const player *p)
{
    char byte[TURNS + 1];
    int64_t n = 0;
    for (ssize_t got; (got = read(p->work, byte, sizeof byte)) > 0;)
        n += got;
    return n;
}

START_TEST(one_repetition_each_turn)
{
    player p = start(NULL);
    char byte[TURNS + 1];
    hear(&p); /* it takes turns */
    for (int i = 0; i < TURNS; i++) {
        ck_assert_msg(!waiting(p.work, SOON), "repetition %d out of turn", i);
        ck_assert_int_eq(write(p.socket, "", 1), 1);
        hear(&p); /* it is over */
        ck_assert_int_eq(read(p.work, byte, sizeof byte), 1);
    }
    stop(&p);
}
END_TEST

START_TEST(left_alone_it_goes_on)
{
    player p = start(NULL);
    hear(&p);
    shutdown(p.socket, SHUT_RDWR);
    ck_assert_int_eq(count_work(&p), TURNS);
    stop(&p);
}
END_TEST

/* What is no open socket is as nothing. */
START_TEST(without_a_socket)
{
    static const char *const none[] = {"", "x", "7x", "1000000", "-1"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        player p = start(none[i]);
        ck_assert_int_eq(count_work(&p), TURNS);
        stop(&p);
    }
}
END_TEST

Suite *suite_turns(void);
Suite *suite_turns(void)
{
    Suite *s = suite_create("turns");
    TCase *t = tcase_create("turns");
    tcase_add_test(t, one_repetition_each_turn);
    tcase_add_test(t, left_alone_it_goes_on);
    tcase_add_test(t, without_a_socket);
    suite_add_tcase(s, t);
    return s;
}
