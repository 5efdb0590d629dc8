// A barrier at which threads spin briefly and then sleep.
//
// The barriers of OpenMP may keep a core busy for milliseconds. If another program needs a core, it then takes that of
// the thread that is waited for, although the one that waits has nothing to do.
#pragma once

#include <atomic>
#include <cstdint>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <thread>
#endif

#include "matmul.h"

// Shared by all threads of a team, each of which calls `wait` equally often.
class Barrier {
    // polls before a thread sleeps: about 20 microseconds
    static constexpr int LOOKS = 1000;

    std::atomic<int> arrived{0}, sleepers{0};
    std::atomic<uint32_t> round{0};

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }

    void sleep(uint32_t own) {
#ifdef __linux__
        ++sleepers;
        // returns at once if the round has ended meanwhile
        syscall(SYS_futex, &round, FUTEX_WAIT_PRIVATE, own, nullptr, nullptr, 0);
        --sleepers;
#else
        (void)own;
        std::this_thread::yield();
#endif
    }

    void wake() {
#ifdef __linux__
        if (sleepers) syscall(SYS_futex, &round, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
#endif
    }

  public:
    // Return when all threads of the team have called it.
    void wait() {
        const int team = team_size();
        if (team == 1) return;
        const uint32_t own = round;
        if (++arrived == team) {
            arrived = 0;
            ++round;
            wake();
            return;
        }
        for (int look = 0; look < LOOKS; ++look) {
            if (round != own) return;
            pause();
        }
        while (round == own) sleep(own);
    }
};
