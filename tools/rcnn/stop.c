#include "stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t noted;

static void note(int number)
{
    noted = number;
}

void stop_catch(void)
{
    static const int NUMBERS[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        struct sigaction before, action = {.sa_handler = note};
        action.sa_flags = NUMBERS[i] == SIGPIPE ? 0 : (int)SA_RESETHAND;
        sigemptyset(&action.sa_mask);
        if (sigaction(NUMBERS[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(NUMBERS[i], &action, NULL);
        }
    }
}

int stop_signal(void)
{
    return (int)noted;
}
