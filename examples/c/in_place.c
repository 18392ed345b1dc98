/*
 * Messages without copies. The server writes each message where the client reads it, in the shared memory:
 *
 *   in_place serve NAME       sends 1,000 messages of 10,000 numbers, and receives their sum
 *   in_place connect NAME     adds the numbers up
 *
 * A client that reads in place must trust the server: a server that breaks the rules can change what is being read.
 */
#include "xshm.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE 20000
#define MESSAGES 1000u
#define NUMBERS 10000u

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

static int write_messages(ServerHandle *server)
{
    uint64_t sum = 0, received;
    uint32_t message, at, size = sizeof received;

    if (shm_server_wait_for_client(server, PATIENCE) != SHM_SUCCESS) return fail("waiting for a client");
    for (message = 0; message < MESSAGES; message++) {
        void *place;
        uint32_t *numbers;
        if (shm_server_reserve_timeout(server, NUMBERS * sizeof *numbers, &place, PATIENCE) != SHM_SUCCESS) return fail("reserving");
        numbers = place; /* aligned to 8 bytes */
        for (at = 0; at < NUMBERS; at++) {
            numbers[at] = message ^ at;
            sum += message ^ at;
        }
        if (shm_server_commit(server) != SHM_SUCCESS) return fail("committing");
    }
    if (shm_server_receive_timeout(server, &received, &size, PATIENCE) != SHM_SUCCESS) return fail("receiving the sum");
    if (size != sizeof received || received != sum) {
        fprintf(stderr, "the client has received other numbers\n");
        return 1;
    }
    printf("the client has received every number\n");
    return 0;
}

static int serve(const char *name)
{
    shm_endpoint_config_t config = xshm_server_config(name);
    shm_options_t options = shm_options_default();
    ServerHandle *server;
    int result;

    /* No message may be evicted while the client reads it. Without this option, shm_client_borrow fails. */
    options.reject_when_full = 1;
    server = shm_server_start_with_options(&config, NULL, &options);
    if (!server) return fail("starting the server");
    result = write_messages(server);
    shm_server_stop(server);
    return result;
}

static int read_messages(ClientHandle *client)
{
    uint64_t sum = 0;
    uint32_t message, at, size;

    for (message = 0; message < MESSAGES; message++) {
        const void *data;
        const uint32_t *numbers;
        if (shm_client_borrow(client, &data, &size, PATIENCE) != SHM_SUCCESS) return fail("borrowing");
        numbers = data;
        for (at = 0; at < size / sizeof *numbers; at++) sum += numbers[at];
        if (shm_client_release(client) != SHM_SUCCESS) return fail("releasing");
    }
    if (shm_client_send_timeout(client, &sum, sizeof sum, PATIENCE) != SHM_SUCCESS) return fail("sending the sum");
    printf("the sum is %llu\n", (unsigned long long)sum);
    return 0;
}

static int run_client(const char *name)
{
    shm_endpoint_config_t config = xshm_client_config(name);
    ClientHandle *client = shm_client_connect(&config, NULL, PATIENCE);
    int result;

    if (!client) return fail("connecting");
    result = read_messages(client);
    shm_client_disconnect(client);
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0) return run_client(argv[2]);
    fprintf(stderr, "usage: in_place serve|connect NAME\n");
    return 2;
}
