/* tests/emu/emu.h - what the parts of the emulation share. */
#ifndef SAE_EMU_H
#define SAE_EMU_H

#include "cuda_runtime.h"

#include <mutex>

enum { EMU_DEVICES = 3 };

/* Host threads take turns in everything: threads of blocks and shared memory are static. */
extern std::recursive_mutex emu_turn;
typedef std::lock_guard<std::recursive_mutex> emu_alone;

[[noreturn]] void emu_give_up(const char *why);

/* To the end of a block this thread reaches the memory that these devices (a bit each) reach. */
class emu_open
{
    unsigned before;

public:
    explicit emu_open(unsigned devices);
    ~emu_open();
};

int emu_device();                    /* the thread's */
void emu_one_piece(const void *p, size_t bytes); /* else it ends the program */
void emu_finish();                   /* all that is in streams */
bool emu_spoils();                   /* and ends the thread's recording: it records */
void emu_disturb(const char *what);  /* takes a while, in which no thread may record */
cudaError_t emu_failed(cudaError_t); /* the thread's last error, from now on */

#endif
