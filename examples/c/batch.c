/*
 * Several messages in each call, which is faster for small messages:
 *
 *   batch serve NAME       sends 10,000 records in batches of 100
 *   batch connect NAME     receives them, as many in each call as are there
 */
#include "xshm.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE 20000
#define RECORDS 10000u
#define BATCH 100u

typedef struct { uint32_t number, square; } record;

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

static int send_records(ServerHandle *server)
{
    static record records[BATCH];
    static shm_message_t messages[BATCH];
    uint32_t first, each, sent;

    if (shm_server_wait_for_client(server, PATIENCE) != SHM_SUCCESS) return fail("waiting for a client");
    for (first = 0; first < RECORDS; first += BATCH) {
        for (each = 0; each < BATCH; each++) {
            records[each].number = first + each;
            records[each].square = (first + each) * (first + each);
            messages[each].data = &records[each];
            messages[each].size = sizeof records[each];
        }
        /* Waits until all have room. On failure, the first `sent` messages were sent. */
        if (shm_server_send_batch_timeout(server, messages, BATCH, &sent, PATIENCE) != SHM_SUCCESS) return fail("sending");
    }
    printf("%u records were sent\n", (unsigned)RECORDS);
    return 0;
}

static int serve(const char *name)
{
    shm_endpoint_config_t config = xshm_server_config(name);
    ServerHandle *server = shm_server_start(&config, NULL);
    int result;

    if (!server) return fail("starting the server");
    result = send_records(server);
    shm_server_stop(server); /* the client still receives what was sent */
    return result;
}

static int receive_records(ClientHandle *client)
{
    static unsigned char bytes[SHM_MAX_MESSAGE]; /* at least one message fits, of any size */
    static shm_message_t messages[BATCH];
    uint32_t received = 0;

    while (received < RECORDS) {
        uint32_t count = BATCH, each;
        if (shm_client_receive_batch(client, bytes, sizeof bytes, messages, &count, PATIENCE) != SHM_SUCCESS) {
            return fail("receiving");
        }
        for (each = 0; each < count; each++, received++) {
            record next;
            if (messages[each].size == sizeof next) {
                memcpy(&next, messages[each].data, sizeof next); /* the data is not aligned */
                if (next.number == received && next.square == received * received) continue;
            }
            fprintf(stderr, "record %u is another one\n", (unsigned)received);
            return 1;
        }
    }
    printf("%u records were received\n", (unsigned)received);
    return 0;
}

static int run_client(const char *name)
{
    shm_endpoint_config_t config = xshm_client_config(name);
    ClientHandle *client = shm_client_connect(&config, NULL, PATIENCE);
    int result;

    if (!client) return fail("connecting");
    result = receive_records(client);
    shm_client_disconnect(client);
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0) return run_client(argv[2]);
    fprintf(stderr, "usage: batch serve|connect NAME\n");
    return 2;
}
