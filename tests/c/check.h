/* Ends a C test with the check that failed, and counts the checks. For programs that include xshm.h. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "platform.h"

static unsigned checks;

#define CHECK(condition)                                                                                             \
    do {                                                                                                             \
        char why_[256] = "";                                                                                         \
        ADD(checks);                                                                                                 \
        if (!(condition)) {                                                                                          \
            shm_last_error_message(why_, sizeof why_);                                                               \
            fprintf(stderr, "%s:%d: %s; last error %d: %s\n", __FILE__, __LINE__, #condition, shm_last_error(), why_); \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

#endif
