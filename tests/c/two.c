/* A program that links two libraries which Rust made: xshm and tests/c/other. Each keeps its own copy of Rust's runtime. */
#include "xshm.h"

#include <stdio.h>

uint64_t other_sum(uint32_t count);

int main(void)
{
    shm_endpoint_config_t config = xshm_client_config("xshm.two.no-server-has-this-name");
    uint64_t sum = other_sum(100);
    ClientHandle *client = shm_client_connect(&config, NULL, 10);
    if (client || shm_last_error() != SHM_ERROR_TIMEOUT || sum != 328350) {
        fprintf(stderr, "client %p, error %d, sum %llu\n", (void *)client, (int)shm_last_error(), (unsigned long long)sum);
        return 1;
    }
    puts("two libraries");
    return 0;
}
