/*
 * Two processes that exchange messages. Each may be this program, or the one in C++ (examples/cpp/echo.cpp) or Rust
 * (examples/echo.rs):
 *
 *   echo serve NAME COUNT     waits for a client, sends it COUNT messages, and checks the answers
 *   echo answer NAME COUNT    connects, and sends back what it receives
 */
#include "xshm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 20000

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

/* Message `number` has the 4 bytes of its number, and up to 5,000 more that are calculated from it. */
static uint32_t fill(uint8_t *message, uint32_t number)
{
    uint32_t size = 4 + number * 7919u % 5000u, at;
    for (at = 0; at < 4; at++) message[at] = (uint8_t)(number >> 8 * at);
    for (; at < size; at++) message[at] = (uint8_t)(number + at);
    return size;
}

static int serve(const char *name, uint32_t count)
{
    static uint8_t message[8192], answer[8192];
    shm_endpoint_config_t config = xshm_server_config(name);
    ServerHandle *server = shm_server_start(&config, NULL);
    uint32_t number;
    if (!server) return fail("starting the server");
    if (shm_server_wait_for_client(server, PATIENCE) != SHM_SUCCESS) return fail("waiting for a client");
    for (number = 0; number < count; number++) {
        uint32_t size = fill(message, number), answered = sizeof answer;
        if (shm_server_send_timeout(server, message, size, PATIENCE) != SHM_SUCCESS) return fail("sending");
        if (shm_server_receive_timeout(server, answer, &answered, PATIENCE) != SHM_SUCCESS) return fail("receiving");
        if (answered != size || memcmp(message, answer, size) != 0) {
            fprintf(stderr, "answer %u is another message\n", (unsigned)number);
            return 1;
        }
    }
    shm_server_stop(server);
    printf("%u messages came back\n", (unsigned)count);
    return 0;
}

static int answer(const char *name, uint32_t count)
{
    static uint8_t message[8192];
    shm_endpoint_config_t config = xshm_client_config(name);
    ClientHandle *client = shm_client_connect(&config, NULL, PATIENCE);
    uint32_t number;
    if (!client) return fail("connecting");
    for (number = 0; number < count; number++) {
        uint32_t size = sizeof message;
        if (shm_client_receive_timeout(client, message, &size, PATIENCE) != SHM_SUCCESS) return fail("receiving");
        if (shm_client_send_timeout(client, message, size, PATIENCE) != SHM_SUCCESS) return fail("sending");
    }
    shm_client_disconnect(client);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "answer") == 0) return answer(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    fprintf(stderr, "usage: echo serve|answer NAME COUNT\n");
    return 2;
}
